import hashlib
import io
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from idgen.errors import UserError
from idgen.prepare import Photo, find_photos, read_photo, subject_name
from tests.prepare.pictures import one_line, picture, save_pictures


def test_finds_photos_by_name_and_passes_over_the_rest(tmp_path: Path) -> None:
    folder = save_pictures(tmp_path, 2, 1, 3)
    (folder / "notes.txt").write_text("a dog")
    (folder / "prompts.yaml").write_text("a: 1")
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "Thumbs.db").write_bytes(b"x")
    (folder / "folder.png").mkdir()
    found = find_photos(folder)
    assert [photo.name for photo in found] == ["1.png", "2.png", "3.png"]
    for photo in found:
        assert photo.digest == hashlib.sha256(photo.path.read_bytes()).hexdigest()
        np.testing.assert_array_equal(photo.pixels(), picture(int(photo.path.stem)))


def test_the_subject_is_named_after_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_pictures(tmp_path / "dog", 1, 2)
    (folder / "inner").mkdir()
    for here, given in ((folder, "."), (folder / "inner", ".."), (tmp_path, "dog")):
        monkeypatch.chdir(here)
        assert {photo.subject for photo in find_photos(Path(given))} == {"dog"}


def test_a_linked_folder_is_called_as_the_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_pictures(tmp_path / "IMG_2041", 1, 2)
    (folder / "inner").mkdir()
    (tmp_path / "rex").symlink_to(folder)
    assert subject_name(tmp_path / "rex") == "rex"
    assert {photo.subject for photo in find_photos(tmp_path / "rex")} == {"rex"}
    assert subject_name(tmp_path / "rex" / "inner" / "..") == "IMG_2041"
    monkeypatch.chdir(tmp_path)
    assert subject_name(Path("rex/")) == "rex"


def test_a_link_to_a_photo_is_a_photo(tmp_path: Path) -> None:
    elsewhere = save_pictures(tmp_path / "elsewhere", 7)
    folder = save_pictures(tmp_path / "photos", 1)
    (folder / "7.png").symlink_to(elsewhere / "7.png")
    assert [photo.name for photo in find_photos(folder)] == ["1.png", "7.png"]


def test_a_copy_is_refused_or_left_out(tmp_path: Path) -> None:
    folder = save_pictures(tmp_path, 1, 2)
    for name in ("8.png", "9.png"):
        shutil.copy(folder / "1.png", folder / name)
    with pytest.raises(UserError) as refused:
        find_photos(folder)
    text = one_line(refused.value)
    for name in ("8.png", "9.png"):
        assert text.count(f"'{name}' is a copy of '1.png': remove one of the two") == 1
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = find_photos(folder, skip_bad=True)
    assert [photo.name for photo in found] == ["1.png", "2.png"]
    assert sorted(str(warning.message).split("'")[1] for warning in caught) == ["8.png", "9.png"]


def test_two_copies_of_one_photo_are_one_photo(tmp_path: Path) -> None:
    folder = save_pictures(tmp_path, 1)
    shutil.copy(folder / "1.png", folder / "9.png")
    with pytest.warns(UserWarning, match="copy"):
        found = find_photos(folder, skip_bad=True)
    assert [photo.name for photo in found] == ["1.png"]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: folder / "absent", "no folder"),
        (lambda folder: save_pictures(folder, 1) / "1.png", "is a file"),
        (lambda folder: folder, "no photo in"),
    ],
)
def test_folders_without_photos(tmp_path: Path, make: Callable[[Path], Path], says: str) -> None:
    folder = make(tmp_path)
    with pytest.raises(UserError, match=says) as caught:
        find_photos(folder)
    assert str(folder) in one_line(caught.value)


def truncated_jpeg(path: Path) -> None:
    Image.fromarray(picture(5)).save(path, "JPEG")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def truncated_png(path: Path) -> None:
    Image.fromarray(picture(5)).save(path, "PNG")
    path.write_bytes(path.read_bytes()[:1500])


def animation(path: Path) -> None:
    frames = [Image.fromarray(picture(seed)) for seed in (5, 6)]
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])


def damaged_exif(path: Path) -> None:
    """Turned, and with a text where a number belongs: turning it writes both anew."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x0132] = "2020"
    content = exif.tobytes().replace(b"\x01\x32\0\x02", b"\x01\x56\0\x02")
    assert content != exif.tobytes()
    Image.fromarray(picture(5)).save(path, "JPEG", exif=content)


def unknown_dds(path: Path) -> None:
    Image.fromarray(picture(5)).save(path, "DDS")
    content = bytearray(path.read_bytes())
    content[80:84] = bytes(4)  # flags of the pixel format
    path.write_bytes(content)


def damaged_avif(path: Path) -> None:
    Image.fromarray(picture(5)).save(path, "AVIF")
    content = path.read_bytes()
    start = content.index(b"mdat") + 4
    path.write_bytes(content[:start] + bytes(len(content) - start))


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "text.jpg": (lambda path: path.write_text("not an image"), "is no image"),
    "movie.bin": (lambda path: path.write_bytes(b"\0\0\0\x20ftypisom"), "is no image"),
    "empty.png": (lambda path: path.write_bytes(b""), "is empty"),
    "cut.jpg": (truncated_jpeg, "is truncated"),
    "cut.png": (truncated_png, "is truncated"),
    "exif.jpg": (damaged_exif, "is truncated or damaged"),
    "texture.dds": (unknown_dds, "is truncated or damaged"),
    "tiny.png": (lambda path: Image.new("RGB", (1, 1)).save(path), "too small"),
    "moves.gif": (animation, "several frames"),
    "dangling.jpg": (lambda path: path.symlink_to("nowhere.jpg"), "is a link to a file"),
    "circle.jpg": (lambda path: path.symlink_to(path.name), "is a link to a file"),
    "pipe.jpg": (os.mkfifo, "is no regular file"),
    'od"d\nn\u00e4me \u540d.jpg': (lambda path: path.write_text("no"), "is no image"),
}


if features.check("avif"):
    BAD["cut.avif"] = (damaged_avif, "is truncated or damaged")


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_named_with_its_reason(tmp_path: Path, name: str) -> None:
    make, reason = BAD[name]
    folder = save_pictures(tmp_path, 1, 2)
    make(folder / name)
    with pytest.raises(UserError, match=reason) as of_folder:
        find_photos(folder)
    assert repr(name) in one_line(of_folder.value)
    with pytest.raises(UserError, match=reason) as alone:
        read_photo(folder / name)
    assert repr(str(folder / name)) in one_line(alone.value)


def test_all_bad_files_are_named_at_once(tmp_path: Path) -> None:
    folder = save_pictures(tmp_path, 1, 2)
    for name, (make, _) in BAD.items():
        make(folder / name)
    with pytest.raises(UserError) as caught:
        find_photos(folder)
    text = one_line(caught.value)
    assert all(text.count(repr(name)) == 1 for name in BAD)
    assert "1.png" not in text


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_pictures(tmp_path, 1, 2)
    read_bytes = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "2.png":
            raise PermissionError(13, "Permission denied", str(path))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UserError, match=r"'2.png' may not be read") as caught:
        find_photos(folder)
    one_line(caught.value)


def test_a_decompression_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_pictures(tmp_path, 1, 2)
    Image.new("RGB", (200, 200)).save(folder / "bomb.png")
    Image.new("RGB", (90, 90)).save(folder / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 6000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError, match=r"'bomb\.png' unpacks") as caught:
            find_photos(folder)
    assert "large.png" not in one_line(caught.value)


def test_one_that_does_not_fit_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_pictures(tmp_path, 1, 2, 3)
    load = Image.Image.convert

    def convert(image: Image.Image, *arguments: Any) -> Image.Image:
        if image.size == (60, 50):
            raise MemoryError
        return load(image, *arguments)

    monkeypatch.setattr(Image.Image, "convert", convert)
    Image.new("L", (60, 50)).save(folder / "2.png")
    with pytest.raises(UserError, match=r"'2\.png' does not fit into memory: reduce it"):
        find_photos(folder)
    with pytest.warns(UserWarning, match=r"left out '2\.png' does not fit"):
        assert [photo.name for photo in find_photos(folder, skip_bad=True)] == ["1.png", "3.png"]


def test_a_missing_photo() -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_photo(Path("absent.jpg"))


def test_content_that_changed_is_not_taken_for_the_old(tmp_path: Path) -> None:
    photo = find_photos(save_pictures(tmp_path, 1, 2))[0]
    Image.fromarray(picture(9)).save(photo.path)
    with pytest.raises(UserError, match=r"1\.png has changed"):
        photo.pixels()
    photo.path.unlink()
    with pytest.raises(UserError, match="does not exist"):
        photo.pixels()


def test_known_photos_are_not_decoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_pictures(tmp_path, 1, 2)
    first = find_photos(folder)

    def refuse(*arguments: object, **options: object) -> Image.Image:
        raise AssertionError("decoded")

    monkeypatch.setattr(Image, "open", refuse)
    assert find_photos(folder, {photo.digest for photo in first}) == first


def test_photos_are_known_by_content(tmp_path: Path) -> None:
    content = io.BytesIO()
    Image.fromarray(picture(3)).save(content, "PNG")
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(content.getvalue())
    one, two = (read_photo(tmp_path / name) for name in ("a.png", "b.png"))
    assert one.digest == two.digest
    assert one == Photo(tmp_path / "a.png", one.digest)


def test_bad_photos_are_left_out_where_allowed(tmp_path: Path) -> None:
    folder = save_pictures(tmp_path, 1, 2)
    for name, (make, _) in BAD.items():
        make(folder / name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = find_photos(folder, skip_bad=True)
    assert [photo.name for photo in found] == ["1.png", "2.png"]
    texts = [str(warning.message) for warning in caught]
    assert len(texts) == len(BAD)
    assert all(sum(repr(name) in text for text in texts) == 1 for name in BAD)


def test_nothing_but_bad_photos(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no")
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(UserError, match=r"no photo in .* can be used: 'a\.jpg'"),
    ):
        find_photos(tmp_path, skip_bad=True)
