import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from idgen.errors import UserError
from idgen.masks import overlap
from idgen.prepare import MaskFiles, Photo, find_photos, read_photo
from idgen.prepare.segmenters.own_masks import OwnMasks, without_own
from tests.prepare.parts import CentreSegmenter
from tests.prepare.pictures import CPU, one_line, picture, red, save_pictures

SOFT = np.zeros((40, 56), np.uint8)
SOFT[5:20, 5:25] = 255
SOFT[5:20, 25:30] = (220, 180, 140, 90, 40)


def save_cut_out(path: Path, alpha: NDArray[np.uint8], seed: int = 1) -> Photo:
    Image.fromarray(np.dstack([picture(seed), alpha])).save(path)
    return read_photo(path)


def save_mask(path: Path, values: NDArray[np.uint8]) -> None:
    Image.fromarray(values).save(path)


def test_a_photos_own_alpha_is_its_mask_with_its_soft_edge(tmp_path: Path) -> None:
    photo, inner = save_cut_out(tmp_path / "a.png", SOFT), CentreSegmenter()
    own = OwnMasks(inner)
    own.check([photo])
    with own.finding(CPU, [photo]) as find:
        found = find(photo)
    assert found.source == "the photo's own alpha channel"
    np.testing.assert_array_equal(found.mask, SOFT >= 128)
    np.testing.assert_array_equal(found.pixels, SOFT)
    with own.loaded(CPU, [photo]) as segment:
        np.testing.assert_array_equal(segment(photo), found.mask)
    assert inner.seen == []
    assert own.key(photo) != own.identity


def test_a_mask_beside_a_photo_is_no_photo_and_comes_before_alpha(tmp_path: Path) -> None:
    save_cut_out(tmp_path / "a.png", SOFT)
    truth = red(picture(1))
    save_mask(tmp_path / "a.mask.png", truth.astype(np.uint8) * 255)
    (photo,) = find_photos(tmp_path)
    own = OwnMasks(CentreSegmenter())
    own.check([photo])
    with own.finding(CPU, [photo]) as find:
        found = find(photo)
    assert found.source == "a.mask.png"
    np.testing.assert_array_equal(found.mask, truth)
    assert own.path(photo) == tmp_path / "a.mask.png"
    before = own.key(photo)
    save_mask(tmp_path / "a.mask.png", SOFT)
    assert own.key(photo) != before


def test_photos_that_bring_nothing_are_the_others(tmp_path: Path) -> None:
    photos = find_photos(save_pictures(tmp_path, 1, 2))
    save_mask(tmp_path / "1-masklabel.png", red(picture(1)).astype(np.uint8) * 255)
    inner = CentreSegmenter()
    own = OwnMasks(inner)
    own.check(photos)
    with own.finding(CPU, photos) as find:
        found = [find(photo) for photo in photos]
    assert [f.source for f in found] == ["1-masklabel.png", "Centre"]
    assert inner.seen == ["2.png"]
    assert own.key(photos[1]) == inner.key(photos[1]) == own.identity


def test_a_folder_of_masks_that_was_asked_for_wins(tmp_path: Path) -> None:
    photo = save_cut_out(tmp_path / "a.png", SOFT)
    folder = tmp_path / "masks"
    folder.mkdir()
    save_mask(folder / "a.png", red(picture(1)).astype(np.uint8) * 255)
    own = OwnMasks(MaskFiles(folder))
    own.check([photo])
    with own.finding(CPU, [photo]) as find:
        np.testing.assert_array_equal(find(photo).mask, red(picture(1)))


def test_a_mask_files_alpha_counts_and_not_its_brightness(tmp_path: Path) -> None:
    """A cut-out given as a mask: its own colours are dark on the subject."""
    photos = find_photos(save_pictures(tmp_path / "dog", 1))
    truth = red(picture(1))
    dark = np.full((40, 56, 3), 20, np.uint8)
    folder = tmp_path / "masks"
    folder.mkdir()
    alpha = truth.astype(np.uint8) * 255
    Image.fromarray(np.dstack([dark, alpha])).save(folder / "1.png")
    segmenter = MaskFiles(folder)
    segmenter.check(photos)
    with segmenter.loaded(CPU, photos) as segment:
        assert overlap(segment(photos[0]), truth) == 1


@pytest.mark.parametrize("level", [255, 180, 100])
def test_an_alpha_of_one_value_is_no_mask(tmp_path: Path, level: int) -> None:
    photo = save_cut_out(tmp_path / "a.png", np.full((40, 56), level, np.uint8))
    own = OwnMasks(CentreSegmenter())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        own.check([photo])
    assert own.key(photo) == own.identity
    assert [str(w.message) for w in caught] == (
        []
        if level == 255
        else [
            f"the alpha channel of 'a.png' is {level} of 255 everywhere and is no mask: passed over"
        ]
    )


def test_rounded_corners_are_no_mask(tmp_path: Path) -> None:
    alpha = np.full((40, 56), 255, np.uint8)
    alpha[:2, :2] = alpha[-2:, -2:] = 0
    photo = save_cut_out(tmp_path / "a.png", alpha)
    own = OwnMasks(CentreSegmenter())
    assert own.key(photo) == own.identity


def test_an_alpha_follows_exif(tmp_path: Path) -> None:
    upright = np.dstack([picture(1), SOFT])
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned right by 90 degrees
    Image.fromarray(np.rot90(upright)).save(tmp_path / "a.png", exif=exif)
    photo = read_photo(tmp_path / "a.png")
    with OwnMasks(CentreSegmenter()).finding(CPU, [photo]) as find:
        np.testing.assert_array_equal(find(photo).pixels, SOFT)


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        OwnMasks(CentreSegmenter()).check(find_photos(folder))
    return one_line(caught.value)


def test_bad_masks_are_refused_in_one_line(tmp_path: Path) -> None:
    folder = save_pictures(tmp_path, 1)
    white = np.full((40, 56), 255, np.uint8)
    save_mask(folder / "1.mask.png", SOFT[:30])
    assert "1.mask.png is 56 x 30, its photo '1.png' is 56 x 40" in refusal(folder)
    save_mask(folder / "1.mask.png", white * 0)
    assert "is empty" in refusal(folder)
    save_mask(folder / "1.mask.png", white)
    assert "covers the whole photo" in refusal(folder)
    (folder / "1.mask.png").write_bytes(b"no image")
    assert "cannot read the mask" in refusal(folder)
    colours = np.random.default_rng(0).integers(40, 220, (40, 56, 3)).astype(np.uint8)
    Image.fromarray(colours).save(folder / "1.mask.png")
    assert "is a picture in colours: rename it if it is a photo" in refusal(folder)
    save_mask(folder / "1.mask.png", SOFT)
    save_mask(folder / "1_mask.png", SOFT)
    assert "has several masks: '1.mask.png', '1_mask.png'; keep one" in refusal(folder)


def test_two_photos_that_share_a_mask_are_refused(tmp_path: Path) -> None:
    folder = save_pictures(tmp_path, 1, 2)
    (folder / "2.png").rename(folder / "1.jpg")  # Pillow reads what it is, not what it is called
    save_mask(folder / "1_mask.png", SOFT)
    assert "name the masks '1.jpg.mask.png' and '1.png.mask.png'" in refusal(folder)


def test_a_stray_mask_is_refused_and_a_photo_called_so_is_not(tmp_path: Path) -> None:
    folder = save_pictures(tmp_path, 1)
    Image.fromarray(picture(2)).save(folder / "carnival_mask.png")
    OwnMasks(CentreSegmenter()).check(find_photos(folder))
    save_mask(folder / "07_mask.png", (SOFT >= 128).astype(np.uint8) * 255)
    assert "is a mask, and there is no photo '07' beside it" in refusal(folder)


def test_a_wholly_transparent_photo_is_refused(tmp_path: Path) -> None:
    save_cut_out(tmp_path / "a.png", np.zeros((40, 56), np.uint8))
    assert "'a.png' is wholly transparent" in refusal(tmp_path)
    save_cut_out(tmp_path / "a.png", np.tile(np.arange(56, dtype=np.uint8), (40, 1)))
    assert "'a.png' is nowhere more than half opaque" in refusal(tmp_path)


def test_drawings_are_for_the_other_segmenter() -> None:
    inner = CentreSegmenter()
    assert without_own(OwnMasks(inner)) is inner
