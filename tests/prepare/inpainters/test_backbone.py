from collections.abc import Iterator

import numpy as np
import pytest
import torch

from idgen.backbones.stable_diffusion import StableDiffusionBackbone
from idgen.errors import UserError
from idgen.mini.world import Drawing, draw, sample_factors
from idgen.prepare import (
    BackboneInpainter,
    Hole,
    OpenCVInpainter,
    SceneLora,
)
from idgen.prepare.inpainters.inpainter import Inpaint, dilate

CPU = torch.device("cpu")
DRAWINGS = [draw(sample_factors(number, held_out_identity=True)) for number in range(300, 306)]


def of_mini(**settings: object) -> BackboneInpainter:
    usual = {"steps": 10, "guidance": 1.0, "prompt": "", "strength": 0.7, "lora": SceneLora()}
    made = BackboneInpainter(**{**usual, **settings})  # type: ignore[arg-type]
    found = made.of(StableDiffusionBackbone())
    assert isinstance(found, BackboneInpainter)
    return found


@pytest.fixture(scope="module")
def inpaint() -> Iterator[Inpaint]:
    with of_mini().loaded(CPU) as function:
        yield function


@pytest.fixture(scope="module")
def filled(inpaint: Inpaint) -> list[np.ndarray]:
    return [inpaint(drawing.picture, drawing.mask) for drawing in DRAWINGS]


def psnr(backgrounds: list[np.ndarray], drawings: list[Drawing]) -> float:
    errors = [
        ((background[d.mask].astype(float) - d.background[d.mask]) ** 2).mean() / 255**2
        for background, d in zip(backgrounds, drawings, strict=True)
    ]
    return float(np.mean(-10 * np.log10(errors)))


def test_the_ground_is_nearer_to_the_truth_than_smears(filled: list[np.ndarray]) -> None:
    with OpenCVInpainter().loaded(CPU) as carry:
        smears = [carry(drawing.picture, drawing.mask) for drawing in DRAWINGS]
    assert psnr(filled, DRAWINGS) > psnr(smears, DRAWINGS)


def test_without_its_scenes_the_mini_backbone_draws_a_subject(filled: list[np.ndarray]) -> None:
    """What `SceneLora` is for: each picture that the mini backbone knows holds a subject."""
    with of_mini(lora=None).loaded(CPU) as bare:
        drawn = [bare(drawing.picture, drawing.mask) for drawing in DRAWINGS]
    assert psnr(drawn, DRAWINGS) < psnr(filled, DRAWINGS) - 3


def test_beside_the_hole_nothing_changes(filled: list[np.ndarray]) -> None:
    for background, drawing in zip(filled, DRAWINGS, strict=True):
        kept = ~dilate(drawing.mask, 0.06)
        np.testing.assert_array_equal(background[kept], drawing.picture[kept])


def test_a_photos_background_is_its_own(inpaint: Inpaint, filled: list[np.ndarray]) -> None:
    """Whatever photos came before it, and whatever colours its subject has."""
    last = DRAWINGS[-1]
    recoloured = last.picture.copy()
    recoloured[dilate(last.mask, 0.06)] = (10, 250, 10)
    kept = dilate(last.mask, 0.06)
    np.testing.assert_array_equal(inpaint(last.picture, last.mask), filled[-1])
    np.testing.assert_array_equal(inpaint(recoloured, last.mask)[kept], filled[-1][kept])


def test_a_larger_picture_is_filled_at_the_backbones_size(inpaint: Inpaint) -> None:
    picture = np.full((150, 200, 3), (90, 140, 200), dtype=np.uint8)
    mask = np.zeros((150, 200), dtype=np.bool_)
    mask[60:100, 80:120] = True
    picture[mask] = (250, 20, 20)
    background = inpaint(picture, mask)
    assert background.shape == picture.shape
    assert np.abs(background[mask].astype(int) - (90, 140, 200)).mean() < 40


def test_settings_decide_the_identity() -> None:
    plain = of_mini()
    others = [
        of_mini(seed=1),
        of_mini(samples=2),
        of_mini(lora=None),
        of_mini(lora=SceneLora(scale=0.5)),
        of_mini(hole=Hole(grow=0.2)),
        of_mini(strength=1.0),
    ]
    assert len({one.identity for one in (plain, *others)}) == 1 + len(others)
    assert of_mini().identity == plain.identity


def test_what_cannot_be_is_refused() -> None:
    for wrong in ({"steps": 0}, {"samples": 0}, {"guidance": -1.0}, {"strength": 0.0}):
        with pytest.raises(UserError, match="BackboneInpainter"):
            of_mini(**wrong)
    with pytest.raises(UserError, match="has no backbone here"):
        _ = BackboneInpainter().identity
    with pytest.raises(UserError, match=r"steps: 2000 are more"), of_mini(steps=2000).loaded(CPU):
        pass


def test_a_lora_of_something_else_is_named(tmp_path: object) -> None:
    from pathlib import Path

    from safetensors.torch import save_file

    folder = Path(str(tmp_path))
    with pytest.raises(UserError, match="no file"):
        _ = SceneLora(str(folder / "absent")).identity
    save_file({"unet.nothing.lora_A.weight": torch.zeros(2, 2)}, folder / "x.safetensors")
    other = of_mini(lora=SceneLora(str(folder / "x.safetensors")))
    with pytest.raises(UserError, match="is no LoRA of"), other.loaded(CPU):
        pass
