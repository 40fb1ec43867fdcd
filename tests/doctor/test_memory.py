"""Memory counted without weights against what a real step holds."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from idgen.backbones import StableDiffusionBackbone
from idgen.doctor.memory import memory_needed
from idgen.models.conditioning import TextOnly
from idgen.models.tuning import LoraTuning
from idgen.module import PersonalizationModule
from idgen.terms import Diffusion
from tests.layouts import save_sd21_layout
from tests.loading import nothing_loaded


def module_of(source: Path) -> PersonalizationModule:
    backbone = StableDiffusionBackbone(str(source))
    return PersonalizationModule(
        backbone, LoraTuning(rank=2), TextOnly, {"diffusion": Diffusion()}, class_noun="dog"
    )


def kept_by_a_real_pass(module: PersonalizationModule, rows: int) -> int:
    backbone, kept = module.backbone, {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    own = {weight.untyped_storage().data_ptr() for weight in backbone.parameters()}
    text = backbone.encode(["a sks dog"] * rows)
    text = text.with_states(text.states.detach())
    noisy = torch.randn(rows, *backbone.latent_shape).requires_grad_()
    alive: Sequence[Tensor]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        alive = [backbone.predict(noisy, torch.ones(rows), text)]
    assert alive
    return sum(size for at, size in kept.items() if at not in own)


@pytest.mark.parametrize("rows", [1, 3])
def test_it_is_what_a_real_step_holds(tiny_pipeline: Path, rows: int) -> None:
    module = module_of(tiny_pipeline)
    needed = memory_needed(module, rows)
    module.configure_model()
    trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
    networks = sum(p.numel() for p in module.backbone.parameters())
    assert needed.frozen == 4 * (networks - trained)
    # Weights, gradients and AdamW's two moments; its count of steps is next to nothing.
    assert needed.trained == pytest.approx(4 * 4 * trained, rel=0.01)
    assert needed.activations == pytest.approx(kept_by_a_real_pass(module, rows), rel=0.2)
    assert needed.total == needed.frozen + needed.trained + needed.activations


def test_stable_diffusion_is_counted_without_its_weights(tmp_path: Path) -> None:
    module = module_of(save_sd21_layout(tmp_path / "sd21"))
    with nothing_loaded():
        needed = memory_needed(module, 1)
    # 866 million weights in the U-Net, and a text encoder whose words are few here.
    assert 3.4e9 < needed.frozen < 5.5e9
    # Attention's maps are not kept: 4096 x 4096 of them in each of ten layers.
    assert 5e8 < needed.activations < 4e9
