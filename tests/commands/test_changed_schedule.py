"""What the command line changes of optimizer and schedule on resume takes effect, or is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch

from idgen.cli import main
from idgen.module import PersonalizationModule
from tests.workspace import TinyModels, Workspace, make_workspace

ONE = ("max_lr=0.02", "total_steps=2")
SCHEDULE = "--model.scheduler=torch.optim.lr_scheduler."


@pytest.fixture
def workspace(tmp_path: Path, tiny_models: TinyModels) -> Workspace:
    return make_workspace(tmp_path, tiny_models)


def fit(workspace: Workspace, steps: int, folder: str, *options: str) -> Path:
    run = workspace.folder / folder
    root = (f"--trainer.default_root_dir={run}", "--trainer.limit_val_batches=0")
    assert workspace.fit(*root, f"--trainer.max_steps={steps}", *options) == 0
    return run / "checkpoints" / "last.ckpt"


def resume(last: Path, steps: int, *options: str) -> int:
    return main(["fit", f"--ckpt_path={last}", f"--trainer.max_steps={steps}", *options])


def groups(last: Path) -> dict[str, Any]:
    state = torch.load(last, weights_only=True)["optimizer_states"][0]
    (group,) = state["param_groups"]
    return {key: value for key, value in group.items() if key != "params"}


def test_another_rate_and_weight_decay_are_trained_with(workspace: Workspace) -> None:
    last = fit(workspace, 1, "run")
    arguments = "--model.optimizer.init_args."
    assert resume(last, 2, f"{arguments}lr=1e-5", f"{arguments}weight_decay=0.25") == 0
    assert groups(last)["lr"] == 1e-5
    assert groups(last)["weight_decay"] == 0.25


@pytest.mark.parametrize(
    ("schedule", "length"),
    [
        (f"{SCHEDULE}CosineAnnealingLR", "T_max"),
        (f"{SCHEDULE}OneCycleLR", "total_steps"),
        (f"{SCHEDULE}LinearLR", "total_iters"),
    ],
)
def test_a_longer_schedule_stands_where_it_would_have_stood(
    workspace: Workspace, schedule: str, length: str
) -> None:
    rest = ["--model.scheduler.init_args.max_lr=0.02"] if "OneCycle" in schedule else []
    key = f"--model.scheduler.init_args.{length}"
    whole = fit(workspace, 4, "whole", schedule, *rest, f"{key}=9")
    last = fit(workspace, 2, "stopped", schedule, *rest, f"{key}=4")
    assert resume(last, 4, f"{key}=9") == 0
    assert groups(last) == groups(whole)


def test_nothing_changed_is_the_same_to_the_bit(workspace: Workspace) -> None:
    schedule = (f"{SCHEDULE}CosineAnnealingLR", "--model.scheduler.init_args.T_max=9")
    whole = fit(workspace, 4, "whole", *schedule)
    last = fit(workspace, 2, "stopped", *schedule)
    assert resume(last, 4) == 0
    states = [torch.load(path, weights_only=True)["state_dict"] for path in (whole, last)]
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    assert groups(last) == groups(whole)


def test_another_optimizer_is_refused(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    last = fit(workspace, 1, "run")
    before = last.read_bytes()
    capsys.readouterr()
    assert resume(last, 2, "--model.optimizer=torch.optim.SGD") == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "holds the state of torch.optim.adamw.AdamW" in said
    assert last.read_bytes() == before


def test_a_schedule_that_ends_before_the_run_is_refused_before_work(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    short = (f"{SCHEDULE}OneCycleLR", *(f"--model.scheduler.init_args.{value}" for value in ONE))
    refused = workspace.fit(*short, "--trainer.max_steps=3")
    assert refused == 2
    assert "--model.scheduler: it cannot be stepped 3 times" in capsys.readouterr().err
    assert not workspace.run.exists()
    by_epochs = ("--trainer.max_steps=-1", "--trainer.max_epochs=1", "--data.steps_per_epoch=3")
    assert workspace.fit(*short, *by_epochs) == 2
    assert "--model.scheduler: it cannot be stepped 3 times" in capsys.readouterr().err
    last = fit(workspace, 2, "run", *short)
    with monkeypatch.context() as patched:
        patched.setattr(PersonalizationModule, "configure_model", None)
        assert resume(last, 3) == 2
        # Its length is open: the steps that are behind it are known.
        shorter = "--model.scheduler.init_args.total_steps=1"
        assert resume(last, -1, "--trainer.max_time=00:01:00:00", shorter) == 2
    assert "--model.scheduler: it cannot be stepped 2 times" in capsys.readouterr().err
    assert resume(last, -1, "--trainer.max_time=00:01:00:00") == 2
    assert "--model.scheduler: it ends at step 3" in capsys.readouterr().err
