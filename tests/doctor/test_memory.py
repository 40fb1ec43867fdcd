"""Memory counted without weights against what a real step holds."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from idgen.backbones import FluxBackbone, StableDiffusionBackbone
from idgen.doctor.made_up import MadeUpBatches
from idgen.doctor.memory import _elsewhere, memory_needed
from idgen.doctor.peak import PeakMemory
from idgen.doctor.saving import count_step
from idgen.models.conditioning import TextOnly
from idgen.models.residual_tokens import ResidualTokens
from idgen.models.tuning import LoraTuning
from idgen.module import PersonalizationModule
from idgen.runs.freezing import ConfigReader
from idgen.terms import Diffusion, Exclusion
from tests.backbones.tiny_families import save_flux
from tests.layouts import save_sd21_layout
from tests.loading import nothing_loaded
from tests.workspace import Workspace


def module_of(source: Path, **settings: Any) -> PersonalizationModule:
    backbone = StableDiffusionBackbone(str(source), **settings)
    return PersonalizationModule(
        backbone, LoraTuning(rank=2), TextOnly, {"diffusion": Diffusion()}, class_noun="dog"
    )


def held_by_a_real_step(module: PersonalizationModule, rows: int) -> int:
    """What a step of a loaded module holds at most beside weights and gradients."""
    words, memory = module.words, PeakMemory()
    prompt = "a photo of a [V] dog"
    batch = MadeUpBatches(module, rows, f"a photo of a {words.token} dog", prompt).batch(0)
    for weight in module.parameters():
        memory.note(weight)
        if weight.requires_grad:
            weight.grad = torch.zeros_like(weight)
            memory.note(weight.grad)
    for buffer in module.buffers():
        memory.note(buffer)
    before = memory.now
    with memory:
        loss = module.training_step(batch, 0)
        module.zero_grad()
        torch.autograd.backward(loss)
    return memory.peak - before


@pytest.mark.filterwarnings("ignore:.*self.log")
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
    assert needed.activations == pytest.approx(held_by_a_real_step(module, rows), rel=0.05)
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
    module = module_of(save_sd21_layout(tmp_path / "sd21"), dtype="bfloat16")
    with nothing_loaded():
        needed = memory_needed(module, 1, "bf16-mixed", on_gpu=True)
    # 866 million weights in the U-Net, and a text encoder whose words are few here.
    assert 1.7e9 < needed.frozen < 2.8e9
    # Attention's maps are not kept: 4096 x 4096 of them in each of ten layers.
    assert 5e8 < needed.activations < 4e9


@pytest.mark.parametrize("mixed", [None, "bf16-mixed"])
def test_settings_for_less_memory_are_counted_as_less(tiny_pipeline: Path, mixed: str) -> None:
    source = tiny_pipeline
    plain = memory_needed(module_of(source), 1, mixed, on_gpu=True)
    checkpointed = memory_needed(
        module_of(source, gradient_checkpointing=True), 1, mixed, on_gpu=True
    )
    assert checkpointed.activations < 0.8 * plain.activations
    assert checkpointed.frozen == plain.frozen
    halved = memory_needed(module_of(source, dtype="bfloat16"), 1, mixed, on_gpu=True)
    assert halved.frozen == plain.frozen / 2
    smaller = memory_needed(module_of(source), 1, mixed, on_gpu=True, latent_shape=(4, 4, 4))
    assert smaller.activations < plain.activations
    two, three = (memory_needed(module_of(source), rows, mixed, on_gpu=True) for rows in (2, 3))
    assert plain.activations < two.activations < three.activations


def test_of_a_denoiser_that_is_split_a_process_holds_its_share(tmp_path: Path) -> None:
    module = module_of(save_sd21_layout(tmp_path / "sd21"), dtype="bfloat16")
    denoiser = module.backbone.skeleton().denoiser
    size = 2 * sum(weight.numel() for weight in denoiser.parameters())
    one, two, eight = (_elsewhere(module.backbone, processes) for processes in (1, 2, 8))
    assert one == 0
    assert 0.3 * size < two < 0.5 * size
    assert 0.65 * size < eight < 7 / 8 * size


def test_a_run_is_counted_by_its_strategy(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = ConfigReader()
    monkeypatch.setattr("idgen.doctor.saving.memory_needed", lambda *given: given[-1])

    def processes(strategy: str) -> Any:
        settings = {"trainer.devices": 2, "trainer.strategy": strategy}
        config = reader.read([str(workspace.config)], settings)
        return count_step(config, reader.build, torch.device("cpu"))

    assert [processes(strategy) for strategy in ("ddp", "frozen_sharded")] == [1, 2]


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


def test_a_row_alone_is_one_of_a_set_where_a_term_compares_photos(tiny_pipeline: Path) -> None:
    tokens, exclusion = partial(ResidualTokens, photos=5, tokens=1), Exclusion()
    backbone, lora = StableDiffusionBackbone(str(tiny_pipeline)), LoraTuning(rank=2)
    module = PersonalizationModule(backbone, lora, tokens, {"exclusion": exclusion})
    assert memory_needed(module, 1).activations > 0
    batch = MadeUpBatches(module, 1, "a sks", "a [V]").batch(0)
    assert batch.photos is not None
    assert batch.photos.total == 2
