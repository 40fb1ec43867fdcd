"""Preparation with segmenters that look at the whole set, and that take the user's prompts."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from idgen import files
from idgen.errors import UserError
from idgen.prepare import (
    AutoSegmenter,
    GrabCutSegmenter,
    Preparation,
    SamSegmenter,
    find_photos,
)
from idgen.prepare.segmenters.own_masks import without_own
from idgen.prepare.segmenters.prompts import PROMPTS
from tests.prepare.parts import (
    CPU,
    CentreSegmenter,
    CountingInpainter,
    PoolingEncoder,
    TinyBackbone,
    contents,
    save_photo,
)
from tests.prepare.pictures import picture


def by_default() -> Preparation:
    return Preparation(None, CountingInpainter(), PoolingEncoder())


def test_the_segmenter_that_is_given_is_taken() -> None:
    given, backbone = CentreSegmenter(), TinyBackbone()
    assert Preparation(given, None, PoolingEncoder()).segmenter_for(backbone).others is given


def test_the_mini_backbone_has_the_mini_sam_and_others_what_is_at_hand() -> None:
    backbone = TinyBackbone()
    found = by_default().segmenter_for(backbone)
    assert isinstance(found.others, AutoSegmenter)
    assert found.identity == GrabCutSegmenter().identity  # no weights are at hand here
    backbone.source = "mini"
    mini = by_default().segmenter_for(backbone)
    assert mini.identity == SamSegmenter().identity
    assert isinstance(without_own(mini), SamSegmenter)


def test_the_mini_models_leave_photographs_to_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(picture(1, 240, 320)).save(photos / "photo.png")
    Image.fromarray(picture(2, 64, 64)).save(photos / "drawn.png")
    backbone = TinyBackbone()
    backbone.source = "mini"
    parts = by_default()
    with caplog.at_level(logging.WARNING, "idgen"):
        parts.run(photos, tmp_path / "out", backbone, CPU, False)
    said, grabcut = caplog.messages
    assert f"{photos} holds photographs, and the mini models know the drawn world" in said
    assert grabcut.startswith("masks by GrabCut")
    assert "wrong on about one photo in three" in grabcut
    assert "pip install 'idgen[masks]'" in grabcut
    drawn, photo = find_photos(photos)
    segmenter = parts.segmenter_for(backbone)
    assert segmenter.key(drawn) == SamSegmenter().key(drawn)
    assert segmenter.key(photo) == GrabCutSegmenter().key(photo)


def test_own_masks_reach_the_contact_sheet_and_keep_their_soft_edge(
    photos: Path, tmp_path: Path
) -> None:
    soft = np.zeros((40, 48), np.uint8)
    soft[8:30, 10:30] = 255
    soft[8:30, 30:34] = 128
    Image.fromarray(soft).save(photos / "00_mask.png")
    with Image.open(photos / "01.png") as image:
        layers = image.convert("RGB")
    layers.putalpha(Image.fromarray(soft))
    layers.save(photos / "01.png")
    parts = Preparation(CentreSegmenter(), CountingInpainter(), PoolingEncoder())
    subject = parts.run(photos, tmp_path / "out", TinyBackbone(), CPU, False)
    page = (tmp_path / "out" / "contact_sheet.html").read_text()
    assert [photo.name for photo in subject.photos] == ["00.png", "01.png", "02.png"]
    for source in ("00_mask.png", "the photo", "Centre"):
        assert page.count(f"mask: {source}") == 1
    own, alpha, _ = subject.photos
    np.testing.assert_array_equal(subject.mask(own), soft >= 128)
    np.testing.assert_array_equal(subject.mask(own), subject.mask(alpha))
    with Image.open(subject.path(own, "masks")) as kept:
        np.testing.assert_array_equal(np.asarray(kept), soft)
    plain = subject.load_views().subject_mask[0]  # a square of 40 pixels a side
    assert float(plain.mean()) * 40 * 40 == pytest.approx(soft.sum() / 255, rel=0.02)
    assert parts.is_fresh(photos, tmp_path / "out", TinyBackbone())


def test_the_default_is_said_in_one_line_when_masks_are_made(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "idgen"):
        by_default().run(photos, tmp_path / "out", TinyBackbone(), CPU, False)
        by_default().run(photos, tmp_path / "out", TinyBackbone(), CPU, False)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("masks by GrabCut")
    assert str(tmp_path / "out" / "contact_sheet.html") in caplog.messages[0]
    assert "\n" not in caplog.messages[0]


def test_a_photos_prompts_change_its_own_mask_alone(photos: Path, tmp_path: Path) -> None:
    parts, backbone, output = by_default(), TinyBackbone(), tmp_path / "out"
    first = parts.run(photos, output, backbone, CPU, False)
    before = contents(output)
    (photos / PROMPTS).write_text("01.png: {box: [10, 8, 40, 34]}")
    assert parts.plan(photos, output, backbone)[:4] == [
        "mask of '01.png'",
        "background of '01.png'",
        "latents of '01.png'",
        "embeddings of '01.png'",
    ]
    parts.run(photos, output, backbone, CPU, False)
    after = contents(output)
    same = {name for name in before if name in after and before[name] == after[name]}
    masks = [f"masks/{first.path(photo, 'masks').name}" for photo in first.photos]
    assert [mask in same for mask in masks] == [True, False, True]
    assert parts.is_fresh(photos, output, backbone)
    (photos / PROMPTS).write_text("01.png: {bocks: [10, 8, 40, 34]}")
    with pytest.raises(UserError, match=r"prompts\.yaml: 01\.png: there is no key 'bocks'"):
        parts.plan(photos, output, backbone)


def test_a_further_photo_leaves_the_others_masks(photos: Path, tmp_path: Path) -> None:
    parts, backbone, output = by_default(), TinyBackbone(), tmp_path / "out"
    parts.run(photos, output, backbone, CPU, False)
    before = contents(output)
    save_photo(photos, "00a.png", 9)
    assert [line for line in parts.plan(photos, output, backbone) if "mask" in line] == [
        "mask of '00a.png'"
    ]
    parts.run(photos, output, backbone, CPU, False)
    after = contents(output)
    assert all(after[name] == data for name, data in before.items() if name.startswith("masks"))


class Killed(BaseException):
    """Stands for SIGKILL."""


@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_killed_run_ends_as_an_undisturbed_one(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """The set decides each mask, so the masks that are there already must not."""
    backbone, calls = TinyBackbone(), 0

    def dying(path: Path, content: bytes) -> None:
        nonlocal calls
        calls += 1
        if calls > written:
            raise Killed
        files.atomic_write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr("idgen.prepare.store.atomic_write", dying)
        with pytest.raises(Killed):
            by_default().run(photos, tmp_path / "out", backbone, CPU, False)
    by_default().run(photos, tmp_path / "out", backbone, CPU, False)
    by_default().run(photos, tmp_path / "whole", backbone, CPU, False)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_reference_is_segmented_on_its_own(photos: Path, tmp_path: Path) -> None:
    from idgen.prepare import read_photo

    photo = read_photo(photos / "00.png")
    f_p, f_i = by_default().reference(photo, TinyBackbone(), CPU)
    assert f_p.shape == f_i.shape == (1, 6)
