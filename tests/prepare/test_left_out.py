"""Photos that cannot be used are left out where that is allowed, and always named."""

import warnings
from pathlib import Path

import pytest
from PIL import Image

from idgen.errors import UserError
from idgen.prepare.photos import lone_photo_note
from idgen.prepare.preparation import Preparation
from idgen.prepare.segmenters.mask_files import MaskFiles
from tests.prepare.parts import (
    CPU,
    CentreSegmenter,
    CountingInpainter,
    PoolingEncoder,
    TinyBackbone,
    contents,
    preparation,
    save_masks,
)


def test_bad_photos_are_left_out_where_allowed(photos: Path, output: Path, tmp_path: Path) -> None:
    preparation().run(photos, output, TinyBackbone(), CPU, False)
    (photos / "bad.jpg").write_text("no image")
    with pytest.raises(UserError, match=r"'bad\.jpg'"):
        preparation().run(photos, output, TinyBackbone(), CPU, False)
    parts = preparation()
    parts.skip_bad = True
    with pytest.warns(UserWarning, match="left out 'bad.jpg' is no image"):
        parts.run(photos, tmp_path / "two", TinyBackbone(), CPU, False)
    assert contents(tmp_path / "two") == contents(output)


def test_what_was_left_out_is_named_where_one_photo_is_left(photos: Path, output: Path) -> None:
    for name in ("00.png", "02.png"):
        (photos / name).write_bytes(b"")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        subject = preparation(skip_bad=True).run(photos, output, TinyBackbone(), CPU, False)
    assert [photo.name for photo in subject.photos] == ["01.png"]
    said = sorted(str(warning.message).replace(str(photos), "PHOTOS") for warning in caught)
    assert said[0].startswith("PHOTOS: left out '00.png' is empty (0 bytes)")
    assert said[1].startswith("PHOTOS: left out '02.png' is empty (0 bytes)")
    assert said[2:] == [lone_photo_note(Path("PHOTOS"))]


def test_what_was_left_out_is_named_where_none_is_left(photos: Path, output: Path) -> None:
    for path in photos.iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError) as refused:
        preparation(skip_bad=True).run(photos, output, TinyBackbone(), CPU, False)
    text = str(refused.value)
    assert text.startswith(f"no photo in {photos} can be used: ")
    assert all(text.count(f"'0{number}.png' is empty (0 bytes)") == 1 for number in range(3))


def test_photos_with_bad_masks_are_left_out_where_allowed(
    photos: Path, output: Path, tmp_path: Path
) -> None:
    subject = preparation().run(photos, output, TinyBackbone(), CPU, False)
    own = save_masks(subject, tmp_path / "own")
    Image.new("L", (48, 40)).save(own / "01.png")
    by_hand = Preparation(MaskFiles(own), CountingInpainter(), PoolingEncoder(), skip_bad=True)
    with pytest.warns(UserWarning, match=r"left out '01\.png'.* is empty"):
        subject = by_hand.run(photos, tmp_path / "two", TinyBackbone(), CPU, False)
    assert [photo.name for photo in subject.photos] == ["00.png", "02.png"]


@pytest.mark.parametrize("skip_bad", [False, True])
def test_masks_that_no_photo_takes_are_named_once(
    photos: Path, output: Path, tmp_path: Path, skip_bad: bool
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    Image.new("L", (48, 40), 255).save(own / "01_mask.png")
    masks = MaskFiles(own, CentreSegmenter())
    parts = Preparation(masks, CountingInpainter(), PoolingEncoder(), skip_bad=skip_bad)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        parts.run(photos, output, TinyBackbone(), CPU, False)
    [said] = [str(warning.message) for warning in caught]
    assert "no photo takes '01_mask.png'" in said


def test_all_photos_without_a_good_mask_are_named_where_none_is_left(
    photos: Path, output: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    for name in ("00.png", "01.png", "02.png"):
        Image.new("L", (48, 40)).save(own / name)
    (photos / "03.png").write_bytes(b"")
    parts = Preparation(MaskFiles(own), CountingInpainter(), PoolingEncoder(), skip_bad=True)
    with pytest.raises(UserError, match=r"no photo in .* can have a mask; ") as refused:
        parts.run(photos, output, TinyBackbone(), CPU, False)
    text = str(refused.value)
    assert all(text.count(f"left out '0{number}.png'") == 1 for number in range(4))
    parts.segmenter = MaskFiles(tmp_path / "absent")
    with pytest.raises(UserError, match=r"'00\.png', '01\.png', '02\.png': no folder of masks"):
        parts.run(photos, output, TinyBackbone(), CPU, False)
