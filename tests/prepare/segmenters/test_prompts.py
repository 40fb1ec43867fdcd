"""What `prompts.yaml` may say, and what it decides."""

from pathlib import Path

import pytest
from PIL import Image

from idgen.errors import UserError
from idgen.prepare import Photo, find_photos
from idgen.prepare.segmenters.prompts import (
    PROMPTS,
    Prompts,
    check_prompts,
    prompted_key,
    prompts_of,
)
from tests.prepare.pictures import one_line, picture, save_pictures


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_pictures(tmp_path / "photos", 1, 2, 3)


def photos(folder: Path, text: str) -> list[Photo]:
    (folder / PROMPTS).write_text(text)
    return find_photos(folder)


def keys(folder: Path, text: str) -> dict[str, str]:
    return {photo.name: prompted_key("same", photo) for photo in photos(folder, text)}


def test_no_file_is_no_prompts(folder: Path) -> None:
    found = find_photos(folder)
    check_prompts(found)
    assert [prompts_of(photo) for photo in found] == [None] * 3
    assert {prompted_key("same", photo) for photo in found} == {"same"}
    check_prompts(photos(folder, "# nothing yet\n"))


def test_all_kinds_are_read(folder: Path) -> None:
    text = "2.png:\n  points: [[10, 20], [11.5, 21]]\n  background_points: [[0, 0]]\n"
    found = photos(folder, text + "3.png: {box: [1, 2, 50, 40]}\n")
    check_prompts(found)
    assert [prompts_of(photo) for photo in found] == [
        None,
        Prompts(points=((10, 20), (11.5, 21)), background_points=((0, 0),)),
        Prompts(box=(1, 2, 50, 40)),
    ]


def test_only_the_prompted_photos_key_changes(folder: Path) -> None:
    bare = keys(folder, "")
    one = keys(folder, "2.png: {points: [[10, 20]]}")
    other = keys(folder, "2.png: {points: [[10, 21]]}\n3.png: {box: [0, 0, 5, 5]}")
    assert one["1.png"] == other["1.png"] == bare["1.png"]
    assert len({bare["2.png"], one["2.png"], other["2.png"]}) == 3
    assert one["3.png"] == bare["3.png"] != other["3.png"]


def test_the_key_is_the_meaning_not_the_writing(folder: Path) -> None:
    first = keys(folder, "2.png: {points: [[10, 20]], box: [1, 2, 3, 4]}")
    second = keys(folder, "# said otherwise\n2.png:\n  box: [1.0, 2, 3, 4]\n  points: [[10.0, 20]]")
    assert first == second


def test_places_are_of_the_upright_photo(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(4)).save(folder / "4.jpg", exif=exif)
    # Stored 56 x 40, seen 40 x 56.
    check_prompts(photos(folder, "4.jpg: {points: [[39, 55]]}"))
    with pytest.raises(UserError, match="which is 40 x 56"):
        check_prompts(photos(folder, "4.jpg: {points: [[55, 39]]}"))


def test_a_copy_may_keep_its_prompts(folder: Path) -> None:
    (folder / "9.png").write_bytes((folder / "1.png").read_bytes())
    (folder / PROMPTS).write_text("9.png: {points: [[1, 1]]}")
    with pytest.warns(UserWarning, match="copy"):
        found = find_photos(folder, skip_bad=True)
    check_prompts(found)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("4.png: {points: [[1, 1]]}", ["there is no photo '4.png'", "did you mean"]),
        ("../x.png: {points: [[1, 1]]}", ["there is no photo '../x.png'"]),
        (f"{'x' * 300}.png: {{points: [[1, 1]]}}", ["there is no photo 'xxx"]),
        ("1: {points: [[1, 1]]}", ["1 is no photo's name"]),
        ("1.png: {point: [[1, 1]]}", ["1.png", "no key 'point'", "did you mean 'points'"]),
        ("1.png: {bocks: [1, 1, 2, 2]}", ["no key 'bocks'", "known are points"]),
        ("1.png: {1: 2}", ["no key 1"]),
        ("1.png: {points: [1, 1]}", ["1.png.points", "it holds 1"]),
        ("1.png: {points: 5}", ["1.png.points", "list of [x, y]"]),
        ("1.png: {points: [[1, yes]]}", ["1.png.points", "it holds [1, True]"]),
        ("1.png: {points: [[1, 2, 3]]}", ["1.png.points"]),
        ("1.png: {points: [[a, b]]}", ["1.png.points"]),
        ("1.png: {points: [[1, .nan]]}", ["1.png.points", "outside"]),
        ("1.png: {points: [[57, 1]]}", ["1.png.points", "(57, 1)", "56 x 40"]),
        ("1.png: {points: [[1, -1]]}", ["1.png.points", "(1, -1)"]),
        ("1.png: {points: [[1, 1]], background_points: [[1, 41]]}", ["1.png.background_points"]),
        ("1.png: {box: [1, 2, 3]}", ["1.png.box", "left, top, right, bottom"]),
        ("1.png: {box: [30, 2, 20, 9]}", ["1.png.box", "is empty"]),
        ("1.png: {box: [1, 2, 30, 99]}", ["1.png.box", "(30, 99)"]),
        ("1.png: {background_points: [[1, 1]]}", ["1.png", "points or a box"]),
        ("1.png: {}", ["1.png", "one or more of points"]),
        ("1.png: [[1, 1]]", ["1.png", "one or more of points"]),
        ("- 1.png", ["map a photo's name"]),
        ("1.png: {points: [[1, 1]", ["is no YAML"]),
        ("1.png: !!python/object/apply:os.system ['true']", ["is no YAML"]),
    ],
)
def test_bad_prompts_are_one_line(folder: Path, text: str, says: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        check_prompts(photos(folder, text))
    message = one_line(caught.value)
    assert str(folder / PROMPTS) in message
    for part in says:
        assert part in message


def test_a_file_that_is_no_text(folder: Path) -> None:
    (folder / PROMPTS).write_bytes(b"\xff\xfe\x00\x01\x80")
    with pytest.raises(UserError, match=r"prompts\.yaml"):
        check_prompts(find_photos(folder))
    (folder / PROMPTS).unlink()
    (folder / PROMPTS).mkdir()
    with pytest.raises(UserError, match="cannot read"):
        check_prompts(find_photos(folder))
