"""Gradients gathered over several batches: checkpoints fall on steps of the optimizer."""

import os
import signal
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch.callbacks import Callback

from idgen.cli import main
from tests.workspace import TinyModels, Workspace, make_workspace

BATCHES = 4
# Epochs of 3 steps, which are 12 batches; validation every second step, as in the workspace.
OPTIONS = (f"--trainer.accumulate_grad_batches={BATCHES}", "--data.steps_per_epoch=3")


@pytest.fixture
def workspace(tmp_path: Path, tiny_models: TinyModels) -> Workspace:
    return make_workspace(tmp_path, tiny_models)


class StopInMidWindow(Callback):
    """Sends SIGTERM after the second batch of the third step."""

    def on_train_batch_end(self, *args: object, **kwargs: object) -> None:
        if args[4] == 2 * BATCHES + 1:
            os.kill(os.getpid(), signal.SIGTERM)


def fit(workspace: Workspace, folder: str, *options: str) -> tuple[int, Path]:
    run = workspace.folder / folder
    code = workspace.fit(f"--trainer.default_root_dir={run}", *OPTIONS, *options)
    return code, run / "checkpoints" / "last.ckpt"


def weights(last: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(last, weights_only=True)["state_dict"]
    return state


def batches(last: Path) -> int:
    loops = torch.load(last, weights_only=True)["loops"]["fit_loop"]
    return int(loops["epoch_loop.batch_progress"]["total"]["ready"])


@pytest.mark.parametrize(
    ("stop", "code", "steps"),
    [
        ("--trainer.max_steps=2", 0, 2),
        ("--trainer.callbacks+=tests.commands.test_accumulating.StopInMidWindow", 143, 3),
    ],
)
def test_a_stopped_run_goes_on_to_the_bit(
    workspace: Workspace, stop: str, code: int, steps: int
) -> None:
    done, whole = fit(workspace, "whole", "--trainer.max_steps=5")
    assert done == 0
    assert batches(whole) == 5 * BATCHES
    stopped, last = fit(workspace, "stopped", "--trainer.max_steps=5", stop)
    assert stopped == code
    assert torch.load(last, weights_only=True)["global_step"] == steps
    assert batches(last) == steps * BATCHES
    assert main(["fit", f"--ckpt_path={last}", "--trainer.max_steps=5"]) == 0
    first, second = weights(whole), weights(last)
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_validation_counts_steps_of_the_optimizer(workspace: Workspace) -> None:
    done, last = fit(workspace, "run", "--trainer.max_steps=4")
    assert done == 0
    grids = (last.parents[1] / "validation").glob("*.png")
    assert sorted(path.stem for path in grids) == ["step-000002", "step-000004"]
    config = yaml.safe_load((last.parents[1] / "config.yaml").read_text())
    assert config["trainer"]["val_check_interval"] == 2
