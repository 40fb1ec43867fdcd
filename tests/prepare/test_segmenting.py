"""Preparation with segmenters that look at the whole set, and that take the user's prompts."""

import logging
from pathlib import Path

import pytest

from idgen import files
from idgen.errors import UserError
from idgen.prepare import GrabCutSegmenter, Preparation, SamSegmenter
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


def by_default() -> Preparation:
    return Preparation(None, CountingInpainter(), PoolingEncoder())


def test_the_segmenter_that_is_given_is_taken() -> None:
    given, backbone = CentreSegmenter(), TinyBackbone()
    assert Preparation(given, None, PoolingEncoder()).segmenter_for(backbone) is given


def test_the_mini_backbone_has_the_mini_sam_and_others_grabcut() -> None:
    backbone = TinyBackbone()
    assert isinstance(by_default().segmenter_for(backbone), GrabCutSegmenter)
    backbone.source = "mini"
    mini = by_default().segmenter_for(backbone)
    assert isinstance(mini, SamSegmenter)
    assert mini.checkpoint == "mini"


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
