"""Memory counted without weights against what a real step holds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from idgen.backbones import FluxBackbone, StableDiffusionBackbone
from idgen.doctor.memory import memory_needed
from idgen.models.conditioning import TextOnly
from idgen.models.tuning import LoraTuning
from idgen.module import PersonalizationModule
from idgen.terms import Diffusion
from tests.backbones.tiny_families import save_flux
from tests.layouts import save_sd21_layout
from tests.loading import nothing_loaded


def module_of(source: Path, **settings: Any) -> PersonalizationModule:
    backbone = StableDiffusionBackbone(str(source), **settings)
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
    is_half = backbone.dtype != torch.float32
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=is_half),
    ):
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


@pytest.mark.parametrize(("tuning", "there"), [({"text_rank": 0}, 1), ({"text_encoders": [0]}, 2)])
def test_text_encoders_that_go_before_training_are_not_counted(
    tuning: dict[str, Any], there: int, tmp_path: Path
) -> None:
    backbone = FluxBackbone(str(save_flux(tmp_path / "flux")), resolution=16, t5_tokens=12)
    lora = LoraTuning(rank=2, **tuning)
    module = PersonalizationModule(backbone, lora, TextOnly, {"diffusion": Diffusion()})
    needed = memory_needed(module, 1)
    module.configure_model()
    backbone.keep_texts(["a sks dog"], torch.device("cpu"))
    held = [weight for weight in backbone.parameters() if not weight.requires_grad]
    assert len(list(backbone.children())) == there
    assert needed.frozen == 4 * sum(weight.numel() for weight in held)


def test_stable_diffusion_is_counted_without_its_weights(tmp_path: Path) -> None:
    module = module_of(save_sd21_layout(tmp_path / "sd21"))
    with nothing_loaded():
        needed = memory_needed(module, 1)
    # 866 million weights in the U-Net, and a text encoder whose words are few here.
    assert 3.4e9 < needed.frozen < 5.5e9
    # Attention's maps are not kept: 4096 x 4096 of them in each of ten layers.
    assert 5e8 < needed.activations < 4e9


def test_half_precision_keeps_about_half(tiny_pipeline: Path) -> None:
    module = module_of(tiny_pipeline, dtype="bfloat16")
    needed, whole = memory_needed(module, 1), memory_needed(module_of(tiny_pipeline), 1)
    assert needed.frozen == whole.frozen / 2
    module.configure_model()
    assert needed.activations == pytest.approx(kept_by_a_real_pass(module, 1), rel=0.2)
    assert needed.activations < 0.8 * whole.activations


def test_checkpointed_blocks_keep_their_inputs_and_one_is_whole(tiny_pipeline: Path) -> None:
    """The inputs are those that a real pass hands to the layers which diffusers checkpoints."""
    module = module_of(tiny_pipeline, gradient_checkpointing=True)
    needed, whole = memory_needed(module, 1), memory_needed(module_of(tiny_pipeline), 1)
    module.configure_model()
    inputs: dict[int, Tensor] = {}

    def recorded(block: Any, *values: Any) -> Any:
        found = [value for value in values if isinstance(value, Tensor)]
        inputs.update({value.untyped_storage().data_ptr(): value for value in found})
        return block(*values)

    layer: Any
    for layer in module.backbone.modules():
        if getattr(layer, "gradient_checkpointing", False):
            layer._gradient_checkpointing_func = recorded
    text = module.backbone.encode(["a sks dog"])
    module.backbone.predict(torch.randn(1, *module.backbone.latent_shape), torch.ones(1), text)
    held = sum(value.untyped_storage().nbytes() for value in inputs.values())
    assert held > 0
    assert held < needed.activations < whole.activations


def test_the_length_is_that_of_the_states_and_not_of_the_first_tokenizer(tmp_path: Path) -> None:
    """T5's tokens are a transformer's longest sequence beside small pictures."""
    folder = save_flux(tmp_path / "flux")

    def activations(tokens: int) -> int:
        backbone = FluxBackbone(str(folder), resolution=16, t5_tokens=tokens)
        made = PersonalizationModule(
            backbone, LoraTuning(rank=2, text_rank=0), TextOnly, {"diffusion": Diffusion()}
        )
        return memory_needed(made, 1).activations

    few, some, many = (activations(tokens) for tokens in (12, 112, 212))
    assert few < some < many
    assert many - some == pytest.approx(some - few, rel=0.3)
