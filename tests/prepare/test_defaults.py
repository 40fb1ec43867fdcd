import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from idgen.backbones.stable_diffusion import StableDiffusionBackbone
from idgen.masks import Picture
from idgen.prepare import BackboneInpainter, OpenCVInpainter, Preparation, PreparedSubject, defaults
from idgen.prepare.inpainters.opencv import has_fsr
from tests.prepare.parts import (
    CPU,
    CentreSegmenter,
    CountingInpainter,
    PoolingEncoder,
    TinyBackbone,
)


class Real(StableDiffusionBackbone):
    """The mini backbone under another name, as a real one would be."""

    def __init__(self) -> None:
        super().__init__()
        self.source = "real"


def test_the_default_follows_backbone_and_device(monkeypatch: pytest.MonkeyPatch) -> None:
    preparation, real = Preparation(), Real()
    for has_gpu, of_real in ((True, BackboneInpainter), (False, OpenCVInpainter)):
        device = torch.device("cuda" if has_gpu else "cpu")
        monkeypatch.setattr(defaults, "best_device", lambda device=device: device)
        chosen = preparation.inpainter_for(real)
        assert type(chosen) is of_real
        if isinstance(chosen, OpenCVInpainter):
            assert chosen.method == ("fsr" if has_fsr() else "navier-stokes")
        mini = preparation.inpainter_for(StableDiffusionBackbone())
        assert mini.identity == OpenCVInpainter().identity


def test_a_subject_that_moves_to_a_machine_without_gpu_keeps_its_backgrounds(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backbone, out = TinyBackbone(), tmp_path / "out"
    counted = CountingInpainter()
    monkeypatch.setattr(BackboneInpainter, "of", lambda self, backbone: counted)

    def here() -> Preparation:
        return Preparation(CentreSegmenter(), None, PoolingEncoder())

    def background_keys() -> set[str]:
        return {photo.files["backgrounds"].key for photo in PreparedSubject(out).photos}

    def prepare() -> dict[str, Picture]:
        subject = here().run(photos, out, backbone, CPU, False)
        return {photo.digest: subject.background(photo) for photo in subject.photos}

    monkeypatch.setattr(defaults, "best_device", lambda: torch.device("cuda"))
    made = prepare()
    assert counted.count == 3
    keys = background_keys()
    monkeypatch.setattr(defaults, "best_device", lambda: CPU)
    with pytest.warns(UserWarning, match="backgrounds of CountingInpainter are kept"):
        assert here().is_fresh(photos, out, backbone)
    kept = here().masks_and_backgrounds(photos, out, backbone)
    for digest, (_, background) in kept.items():
        np.testing.assert_array_equal(background, made[digest])
    # A set's backgrounds are made by one inpainter: where one is lacking, this machine makes all.
    next((out / "backgrounds").iterdir()).unlink()
    again = prepare()
    assert counted.count == 3
    assert again.keys() == made.keys()
    assert not keys & background_keys()
    # And the other way round.
    monkeypatch.setattr(defaults, "best_device", lambda: torch.device("cuda"))
    with pytest.warns(UserWarning, match="backgrounds of OpenCVInpainter are kept"):
        assert here().is_fresh(photos, out, backbone)


def test_an_opencv_without_reconstruction_is_said_before_backgrounds_are_made(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(defaults, "best_device", lambda: CPU)
    monkeypatch.setattr(defaults, "has_fsr", lambda: False)
    monkeypatch.setattr(BackboneInpainter, "of", lambda self, backbone: CountingInpainter(0.1))
    preparation = Preparation(CentreSegmenter(), None, PoolingEncoder())
    for said in (1, 1):  # the second time there is nothing to make
        with caplog.at_level(logging.WARNING, "idgen"):
            preparation.run(photos, tmp_path / "out", TinyBackbone(), CPU, False)
        assert caplog.text.count("backgrounds by Navier-Stokes, which smears") == said
