"""A loss that is no number is found a step later, in whichever process it was."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from idgen.backbones import StableDiffusionBackbone
from idgen.errors import UserError
from idgen.finite_losses import FiniteLosses
from idgen.models.conditioning import TextOnly
from idgen.models.tuning import LoraTuning
from idgen.module import PersonalizationModule
from tests.workspace import Workspace

NUMBER, NO_NUMBER = torch.tensor(0.5), torch.tensor(float("nan"))


def alone(value: Tensor) -> Tensor:
    return value


def test_the_step_is_named_once_it_is_looked_at() -> None:
    losses = FiniteLosses()
    losses.check()
    losses.note(NUMBER, 1, alone)
    losses.check()
    losses.note(NO_NUMBER, 2, alone)
    with pytest.raises(UserError, match="not finite at step 2; lower the optimizer's lr"):
        losses.check()
    with pytest.raises(UserError, match="not finite at step 2"):
        losses.check()


def test_a_loss_is_known_once_it_is_looked_at() -> None:
    losses = FiniteLosses()
    losses.note(NUMBER, 1, alone)
    seen = [losses.last]
    losses.check()
    seen.append(losses.last)
    losses.note(torch.tensor(0.25), 2, alone)
    assert [*seen, losses.last] == [None, 0.5, 0.5]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number(value: float) -> None:
    losses = FiniteLosses()
    losses.note(torch.tensor(value), 7, alone)
    with pytest.raises(UserError, match="step 7"):
        losses.check()


def test_another_process_counts_too() -> None:
    losses = FiniteLosses()
    losses.note(NUMBER, 3, lambda value: torch.minimum(value, torch.zeros(())))
    with pytest.raises(UserError, match="step 3"):
        losses.check()


@pytest.mark.parametrize("steps", [1, 3])
def test_the_last_step_of_a_run_counts_and_nothing_is_written(
    workspace: Workspace, steps: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beyond float32 from the first step on."""
    weights = [f"--model.terms.{n}.init_args.weight=3e38" for n in ("diffusion", "weak_denoising")]
    options = [f"--trainer.max_steps={steps}", "--trainer.limit_val_batches=0", *weights]
    assert workspace.fit(*options) == 2
    assert "the loss is not finite at step 1;" in capsys.readouterr().err
    assert not list(Path(workspace.run).rglob("*.ckpt"))


def test_a_second_fit_of_a_module_forgets_what_the_first_ended_with(
    tiny_pipeline: Path,
) -> None:
    backbone = StableDiffusionBackbone(str(tiny_pipeline))
    module = PersonalizationModule(backbone, LoraTuning(rank=2), TextOnly)
    module._finite.note(NO_NUMBER, 1, alone)
    with pytest.raises(UserError, match="step 1"):
        module.on_train_end()
    module.on_fit_start()
    module.on_train_end()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="a CPU has nothing to wait for")
def test_a_step_on_cuda_makes_the_host_wait_for_nothing(workspace: Workspace) -> None:
    options = [
        "--trainer.accelerator=gpu",
        "--trainer.max_steps=6",
        "--trainer.limit_val_batches=0",
        "--trainer.log_every_n_steps=100",
        "--trainer.enable_progress_bar=false",
        "--trainer.callbacks+=tests.watching.NoSyncs",
        "--trainer.callbacks.after=3",
    ]
    assert workspace.fit(*options) == 0
