"""Which blocks of a denoiser are split, what is refused, and what changes once it is split.

What two processes do with it is in commands/test_sharding.py.
"""

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from idgen.backbones import StableDiffusion3Backbone, StableDiffusionBackbone, SubjectWords
from idgen.backbones.splitting import blocks_of, check_split, most_held
from idgen.errors import UserError
from idgen.models.tuning import LoraTuning
from tests.backbones.tiny_families import FAMILIES, Family, save_sd3
from tests.layouts import save_sd21_layout


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_family_has_blocks_and_inner_ones_come_first(family: Family, tmp_path: Path) -> None:
    backbone = family.open(family.save(tmp_path / "pipeline"))
    check_split(backbone)
    denoiser = backbone.skeleton().denoiser
    blocks = blocks_of(denoiser)
    assert len(blocks) == len(set(blocks)) > 1
    for number, block in enumerate(blocks):
        assert not set(block.modules()) & set(blocks[number + 1 :])
    assert denoiser not in blocks


def test_nearly_all_of_stable_diffusion_is_in_its_blocks(tmp_path: Path) -> None:
    backbone = StableDiffusionBackbone(str(save_sd21_layout(tmp_path / "sd21")))
    denoiser = backbone.skeleton().denoiser
    whole = sum(weight.numel() for weight in denoiser.parameters())
    inside = {weight for block in blocks_of(denoiser) for weight in block.parameters()}
    assert sum(weight.numel() for weight in inside) > 0.9 * whole
    held = [most_held(denoiser, processes) for processes in (2, 4, 8)]
    assert held == sorted(held, reverse=True)
    assert 0.5 * whole < held[0] < 0.7 * whole
    assert whole / 8 < held[2] < 0.35 * whole


def test_a_denoiser_of_one_layer_is_held_whole() -> None:
    layer = nn.Linear(3, 5)
    assert blocks_of(layer) == []
    assert most_held(layer, 2) == 20


def test_few_bits_are_refused(tmp_path: Path) -> None:
    few: Any = "nf4"
    backbone = StableDiffusion3Backbone(str(save_sd3(tmp_path)), dtype=few, t5_tokens=12)
    with pytest.raises(UserError, match=r"^StableDiffusion3Backbone\.dtype: weights in nf4 cannot"):
        check_split(backbone)


def test_blocks_that_nobody_names_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffusers import SD3Transformer2DModel

    backbone = StableDiffusion3Backbone(str(save_sd3(tmp_path)), t5=False, t5_tokens=12)
    check_split(backbone)
    monkeypatch.setattr(SD3Transformer2DModel, "_no_split_modules", None)
    with pytest.raises(UserError, match=r"^--trainer\.strategy: .*SD3Transformer.*take ddp"):
        check_split(backbone)


def test_nothing_is_folded_into_weights_that_are_split(tmp_path: Path) -> None:
    backbone = StableDiffusion3Backbone(str(save_sd3(tmp_path)), t5=False, t5_tokens=12)
    backbone.load()
    backbone.attach(LoraTuning(rank=2, text_rank=0), SubjectWords("sks", "dog"))
    weights = {name: weight.data_ptr() for name, weight in backbone.named_parameters()}
    for split in (False, True):
        backbone.is_split = split
        with backbone.folded():
            now = {name: weight.data_ptr() for name, weight in backbone.named_parameters()}
            assert (now == weights) is split
    assert not backbone.unloaded().is_split
