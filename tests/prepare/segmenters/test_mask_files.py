import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from idgen.errors import UserError
from idgen.prepare import GrabCutSegmenter, MaskFiles, Photo, find_photos, read_photo
from idgen.prepare.segmenters.prompts import PROMPTS
from idgen.prepare.segmenters.segmenter import DrawnPicture
from tests.prepare.parts import CentreSegmenter
from tests.prepare.pictures import CPU, one_line, picture, red, save_pictures

SIZE = (40, 56)


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    folder = tmp_path / "masks"
    folder.mkdir()
    return folder


@pytest.fixture
def found(tmp_path: Path) -> list[Photo]:
    """The photos 1.png, 2.png and 3.png."""
    return find_photos(save_pictures(tmp_path / "found", 1, 2, 3))


def save(path: Path, mask: np.ndarray) -> None:
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)


def read(masks: Path, photo: Photo) -> np.ndarray:
    with MaskFiles(masks).loaded(CPU, [photo]) as segment:
        mask = segment(photo)
    assert mask.dtype == np.bool_
    return mask


def refused(masks: Path, photos: list[Photo]) -> str:
    with pytest.raises(UserError) as caught:
        MaskFiles(masks).check(photos)
    return one_line(caught.value)


def test_masks_go_by_the_photos_names(masks: Path, found: list[Photo]) -> None:
    save(masks / "1.png", red(picture(1)))
    save(masks / "2.png.png", red(picture(2)))
    save(masks / "3.png", red(picture(3)))
    save(masks / "4.png", red(picture(1)))
    MaskFiles(masks).check(found)
    for seed, photo in enumerate(found, start=1):
        np.testing.assert_array_equal(read(masks, photo), red(picture(seed)))


def test_the_full_name_comes_first(masks: Path, found: list[Photo]) -> None:
    save(masks / "1.png", ~red(picture(1)))
    save(masks / "1.png.png", red(picture(1)))
    np.testing.assert_array_equal(read(masks, found[0]), red(picture(1)))


def test_several_masks_for_one_photo_are_refused(masks: Path, found: list[Photo]) -> None:
    for photo in found:
        save(masks / photo.name, red(photo.pixels()))
    MaskFiles(masks).check(found)
    save(masks / "1.png.png", red(picture(1)))
    text = refused(masks, found)
    assert text == f"'1.png' has several masks in {masks}: '1.png.png', '1.png'; keep one"
    (masks / "found").mkdir()
    save(masks / "found" / "1.png", red(picture(1)))
    MaskFiles(masks).check(found)  # the subject's own folder says which


def test_a_mask_that_is_another_photos_is_no_second_one(masks: Path, tmp_path: Path) -> None:
    folder = save_pictures(tmp_path / "two", 1, 2)
    (folder / "2.png").rename(folder / "1.jpg")  # Pillow reads what it is, not what it is called
    save(masks / "1.png", red(picture(1)))
    save(masks / "1.jpg.png", red(picture(2)))
    MaskFiles(masks).check(find_photos(folder))


def test_missing_masks_are_all_named(masks: Path, found: list[Photo]) -> None:
    save(masks / "2.png", red(picture(2)))
    text = refused(masks, found)
    assert str(masks) in text
    assert "'1.png'" in text
    assert "'3.png'" in text
    assert "'2.png'" not in text
    with pytest.raises(UserError, match=r"'1\.png'"):
        MaskFiles(masks).key(found[0])


def test_each_subject_has_a_folder_of_masks(tmp_path: Path, masks: Path) -> None:
    """Photos of several subjects have the same names."""
    photos = [
        find_photos(save_pictures(tmp_path / name, *seeds))[0]
        for name, seeds in (("dog", (1, 2)), ("cat", (1, 3)))
    ]
    save(masks / "1.png", red(picture(1)))
    text = refused(masks, photos)
    for name in ("dog", "cat"):
        assert f"'{name}/1.png'" in text
        (masks / name).mkdir()
    save(masks / "dog" / "1.png", ~red(picture(1)))
    MaskFiles(masks).check(photos)
    np.testing.assert_array_equal(read(masks, photos[0]), ~red(picture(1)))
    np.testing.assert_array_equal(read(masks, photos[1]), red(picture(1)))


def test_photos_without_a_mask_are_left_to_another_segmenter(
    masks: Path, found: list[Photo]
) -> None:
    other = CentreSegmenter()
    both = MaskFiles(masks, other)
    save(masks / "2.png", red(picture(2)))
    both.check(found)
    with both.loaded(CPU, found) as segment, other.loaded(CPU, found) as segment_other:
        np.testing.assert_array_equal(segment(found[1]), red(picture(2)))
        np.testing.assert_array_equal(segment(found[0]), segment_other(found[0]))
    keys = [both.key(photo) for photo in found]
    assert keys[0] == other.key(found[0])
    assert keys[1] == MaskFiles(masks).key(found[1])
    # A mask that comes later makes that photo anew and no other.
    save(masks / "1.png", red(picture(1)))
    assert [both.key(photo) == key for photo, key in zip(found, keys, strict=True)] == [
        False,
        True,
        True,
    ]


def test_what_the_other_segmenter_refuses_is_refused(masks: Path, found: list[Photo]) -> None:
    (found[0].path.parent / PROMPTS).write_text("1.png: {points: [[900, 900]]}")
    both = MaskFiles(masks, GrabCutSegmenter())
    with pytest.raises(UserError, match="outside"):
        both.check(found)
    save(masks / "1.png", red(picture(1)))
    both.check(found[:1])


def test_masks_that_no_photo_takes_are_named(masks: Path, found: list[Photo]) -> None:
    save(masks / "1.png", red(picture(1)))
    (masks / "1.png").rename(masks / "1.PNG")
    save(masks / "2_mask.png", red(picture(2)))
    Image.fromarray(picture(3)).save(masks / "3.jpg")
    assert MaskFiles(masks).path(found[0]) == masks / "1.PNG"
    with pytest.warns(UserWarning, match=r"takes '2_mask\.png', '3\.jpg' in") as caught:
        MaskFiles(masks, CentreSegmenter()).check(found)
    assert len(caught) == 1
    text = refused(masks, found)
    assert "no photo takes '2_mask.png', '3.jpg'" in text
    save(masks / "2.png", red(picture(2)))
    save(masks / "3.png", red(picture(3)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MaskFiles(masks).check(found)


def test_a_photos_name_as_long_as_names_may_be(masks: Path, tmp_path: Path) -> None:
    folder = save_pictures(tmp_path / "long", 1, 2)
    (folder / "1.png").rename(folder / f"{'x' * 248}.png")
    text = refused(masks, find_photos(folder))
    assert "x" * 248 in text


def test_a_bomb_is_one_line(
    masks: Path, found: list[Photo], monkeypatch: pytest.MonkeyPatch
) -> None:
    save(masks / "1.png", red(picture(1)))
    photo = DrawnPicture(found[0].path, found[0].digest, picture(1))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert str(masks / "1.png") in refused(masks, [photo])


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    masks = MaskFiles(tmp_path / "absent")
    with pytest.raises(UserError, match="no folder of masks"):
        masks.check([])


def test_two_photos_do_not_share_a_mask(tmp_path: Path, masks: Path) -> None:
    folder = save_pictures(tmp_path / "photos", 1)
    Image.fromarray(picture(2)).save(folder / "1.bmp")
    save(masks / "1.png", red(picture(1)))
    text = refused(masks, find_photos(folder))
    assert "'1.bmp.png'" in text
    assert "'1.png.png'" in text
    save(masks / "1.png.png", red(picture(1)))
    save(masks / "1.bmp.png", red(picture(2)))
    MaskFiles(masks).check(find_photos(folder))


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (np.ones((41, 56), bool), "is 56 x 41, its photo '1.png' is 56 x 40"),
        (np.zeros(SIZE, bool), "is empty (its brightest value is 0 of 255)"),
        (np.ones(SIZE, bool), "covers the whole photo"),
    ],
    ids=["size", "empty", "full"],
)
def test_unusable_masks(masks: Path, found: list[Photo], mask: np.ndarray, says: str) -> None:
    save(masks / "1.png", mask)
    assert says in refused(masks, found[:1])
    with pytest.raises(UserError) as caught:
        read(masks, found[0])
    assert says in str(caught.value)


def test_a_damaged_mask(masks: Path, found: list[Photo]) -> None:
    (masks / "1.png").write_text("no image")
    assert "1.png" in refused(masks, found[:1])


def test_all_faults_are_named_at_once(masks: Path, found: list[Photo]) -> None:
    for number in (1, 2, 3):
        save(masks / f"{number}.png", np.zeros(SIZE, bool))
    text = refused(masks, found)
    assert all(str(masks / f"{number}.png") in text for number in (1, 2, 3))


def test_labels_of_0_and_1_are_explained(masks: Path, found: list[Photo]) -> None:
    Image.fromarray(red(picture(1)).astype(np.uint8)).save(masks / "1.png")
    assert "brightest value is 1 of 255" in refused(masks, found[:1])


def test_kinds_of_files(masks: Path, found: list[Photo]) -> None:
    truth = red(picture(1))
    grey = truth.astype(np.uint8) * 255
    white = np.full_like(grey, 255)
    images = [
        Image.fromarray(truth),
        Image.fromarray(grey.astype(np.uint16) * 257),
        Image.fromarray(np.dstack([grey] * 3)),
        Image.fromarray(np.dstack([white, white, white, grey]), "RGBA"),
    ]
    for image in images:
        image.save(masks / "1.png")
        np.testing.assert_array_equal(read(masks, found[0]), truth)


def test_size_is_compared_after_rotation(tmp_path: Path, masks: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(1)).save(tmp_path / "a.jpg", exif=exif)
    save(masks / "a.png", np.eye(56, 40, dtype=bool))
    photo = read_photo(tmp_path / "a.jpg")
    assert read(masks, photo).shape == photo.pixels().shape[:2] == (56, 40)


def test_the_key_is_the_masks_content(masks: Path, found: list[Photo]) -> None:
    save(masks / "1.png", red(picture(1)))
    save(masks / "2.png", red(picture(2)))
    segmenter = MaskFiles(masks)
    before = [segmenter.key(photo) for photo in found[:2]]
    assert before[0] != before[1]
    save(masks / "1.png", red(picture(3)))
    after = [segmenter.key(photo) for photo in found[:2]]
    assert after[0] != before[0]
    assert after[1] == before[1]
