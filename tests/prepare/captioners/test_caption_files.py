"""Text files beside photos: which is whose, and what is read of it."""

from pathlib import Path

import pytest

from idgen.errors import UserError
from idgen.prepare.captioners.caption_files import (
    caption_path,
    read_caption_file,
    shown_caption,
)
from idgen.prepare.photos import Photo, find_photos
from tests.prepare.parts import save_photo, save_photos


def found(folder: Path) -> dict[str, str | None]:
    photos = find_photos(folder)
    paths = {photo.name: caption_path(photo, photos) for photo in photos}
    return {name: None if path is None else path.name for name, path in paths.items()}


def test_a_photo_takes_the_file_of_its_name(photos: Path) -> None:
    for name in ("00.txt", "01.png.txt", "01.txt", "notes.txt", "class_noun.txt"):
        (photos / name).write_text("a dog")
    assert found(photos) == {"00.png": "00.txt", "01.png": "01.png.txt", "02.png": None}


def test_photos_of_one_name_need_a_file_each(tmp_path: Path) -> None:
    for number, name in enumerate(("a.png", "a.jpg")):
        save_photo(tmp_path, name, number)
    (tmp_path / "a.txt").write_text("a dog")
    with pytest.raises(UserError, match=r"a\.txt is the caption of 'a.jpg' and of 'a.png' alike"):
        found(tmp_path)
    (tmp_path / "a.jpg.txt").write_text("a dog on a sofa")
    assert found(tmp_path) == {"a.jpg": "a.jpg.txt", "a.png": "a.txt"}


@pytest.mark.parametrize(
    "content",
    ["a dog\non  a sofa", "\ufeffa dog on a sofa\r\n", "\n\n a dog on\n\n\ta sofa  \n"],
)
def test_lines_are_joined(content: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content.encode())
    assert read_caption_file(path) == "a dog on a sofa"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b" \n\t\xef\xbb\xbf"[:3], "is empty"),
        ("ein Hund auf der Stra\u00dfe".encode("latin-1"), "is no UTF-8 text"),
        ("a dog".encode("utf-16"), "is no UTF-8 text"),
    ],
)
def test_what_is_no_text_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"caption .*a\.txt {said}"):
        read_caption_file(path)
    photo = Photo(save_photo(tmp_path, "a.png", 0), "0")
    shown = shown_caption(photo, [photo], "on a rug")
    assert shown.text == "a photo of a [V] {class_noun} on a rug"
    assert said in shown.source


def test_the_sheet_shows_the_file_else_the_captioners(tmp_path: Path) -> None:
    photos = find_photos(save_photos(tmp_path, (0, 1)))
    (tmp_path / "00.txt").write_text("a dog on a sofa")
    shown = [shown_caption(photo, photos, "on a rug") for photo in photos]
    assert shown[0] == ("a dog on a sofa", "from 00.txt", "00.txt")
    assert shown[1] == ("a photo of a [V] {class_noun} on a rug", "by the captioner", "01.txt")
    assert shown_caption(photos[1], photos)[:2] == ("a photo of a [V] {class_noun}", "")


def test_an_edited_caption_is_read_back_by_its_own_photo(tmp_path: Path) -> None:
    for number, name in enumerate(("a.png", "a.jpg", "b.c.png")):
        save_photo(tmp_path, name, number)
    photos = find_photos(tmp_path)
    for photo in photos:
        (tmp_path / shown_caption(photo, photos).file).write_text(photo.name)
    assert [read_caption_file(path) for p in photos if (path := caption_path(p, photos))] == [
        photo.name for photo in photos
    ]
