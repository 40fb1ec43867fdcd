"""Photos of more pixels than are worked on."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from idgen.errors import UserError
from idgen.prepare import find_photos
from idgen.prepare.photos import working_size
from idgen.prepare.segmenters.mask_pictures import read_matte
from idgen.prepare.segmenters.prompts import check_prompts, placed_prompts, prompts_of
from idgen.prepare.sheet.review import look_of, mask_warnings, set_warnings
from tests.prepare.parts import CPU, TinyBackbone, preparation

HEIGHT, WIDTH = 1700, 3400


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    photo = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    photo[400:1200, 1000:2000] = (220, 30, 30)
    Image.fromarray(photo).save(folder / "0.jpg", quality=95)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[400:1200, 1000:2000] = 255
    Image.fromarray(mask).save(folder / "0.mask.png")
    box = "0.jpg: {box: [1000, 400, 2000, 1200], points: [[3400, 1700]]}\n"
    (folder / "prompts.yaml").write_text(box)
    return folder


def test_the_working_size_keeps_the_shape() -> None:
    assert working_size(3000, 4000) == (1536, 2048)
    assert working_size(1536, 9000) == (1536, 9000)
    assert working_size(64, 64) == (64, 64)


def test_a_photo_is_read_at_the_size_needed(folder: Path) -> None:
    (photo,) = find_photos(folder)
    assert photo.full_size() == (HEIGHT, WIDTH)
    assert photo.size() == (1536, 3072)
    pixels = photo.pixels()
    assert pixels.shape == (1536, 3072, 3)
    scale = 1536 / HEIGHT
    inside = pixels[round(410 * scale) : round(1190 * scale), round(1010 * scale) : 1700]
    assert np.abs(inside.astype(int) - (220, 30, 30)).mean() < 4


def test_masks_and_prompts_are_in_the_files_pixels(folder: Path) -> None:
    (photo,) = find_photos(folder)
    check_prompts([photo])
    matte = read_matte(folder / "0.mask.png", photo)
    assert matte.shape == photo.size()
    assert (matte >= 128).mean() == pytest.approx(800 * 1000 / (HEIGHT * WIDTH), abs=1e-3)
    placed, given = placed_prompts(photo), prompts_of(photo)
    assert placed is not None
    assert given is not None
    scale = 1536 / HEIGHT
    assert placed.box == pytest.approx([scale * side for side in given.box or ()], abs=0.01)
    assert placed.points[0] == pytest.approx((3072, 1536), abs=0.5)
    # A mask at the working size is of another size than the photo that the user sees.
    small = folder / "small.png"
    Image.fromarray(matte).save(small)
    try:
        with pytest.raises(UserError, match="save it at the photo's size"):
            read_matte(small, photo)
    finally:
        small.unlink()


def test_a_prepared_large_photo(folder: Path, tmp_path: Path) -> None:
    prepared = preparation()
    prepared.run(folder, tmp_path / "out", TinyBackbone(), CPU, False)
    [(mask, background)] = prepared.masks_and_backgrounds(
        folder, tmp_path / "out", TinyBackbone()
    ).values()
    assert mask.shape == background.shape[:2] == (1536, 3072)
    page = (tmp_path / "out" / "contact_sheet.html").read_text()
    assert f'"{WIDTH}"' in page or f"={WIDTH}" in page or str(WIDTH) in page
    assert prepared.is_fresh(folder, tmp_path / "out", TinyBackbone())


def test_a_panorama_is_named() -> None:
    mask = np.zeros((100, 260), np.bool_)
    mask[30:60, 100:140] = True
    assert any("a panorama" in warned for warned in mask_warnings(mask))
    assert not any("a panorama" in warned for warned in mask_warnings(mask[:, 60:240]))


def test_grey_photos_among_coloured_ones_are_named() -> None:
    import torch

    draw = np.random.default_rng(0)
    photos = [draw.integers(0, 255, (9, 9, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
              for _ in range(3)]  # fmt: skip
    grey = photos[0].astype(np.float32).mean(axis=2, keepdims=True).repeat(3, 2).astype(np.uint8)
    mask = np.zeros(grey.shape[:2], np.bool_)
    mask[16:48, 16:48] = True  # along the photos' patches
    names = ["0.jpg", "1.jpg", "2.jpg", "grey.jpg"]
    looks = [look_of(photo, mask) for photo in (*photos, grey)]
    assert [look.is_grey for look in looks] == [False, False, False, True]
    warned = set_warnings(names, looks, torch.ones(4, 3))
    assert warned[:3] == [[], [], []]
    assert any("a grey copy of '0.jpg'" in text for text in warned[3])
    assert any("grey among photos in colour" in text for text in warned[3])
    # A set that is grey throughout is as the user wants it.
    assert not any(set_warnings(names[:2], [looks[3], looks[3]], torch.ones(2, 3))[0])
