"""A rate that falls where a score no longer rises, exact on resume."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.cli import ReduceLROnPlateau

from idgen.cli import main
from idgen.optimization import Optimization
from idgen.plateau import follow
from tests.workspace import Workspace

SGD = partial(torch.optim.SGD, lr=0.8)
HALVED = partial(ReduceLROnPlateau, monitor="val/dino", mode="max", factor=0.5, patience=1)
SCHEDULE = "--model.scheduler=lightning.pytorch.cli.ReduceLROnPlateau"
ARGUMENTS = {"monitor": "val/dino", "mode": "max", "patience": 0, "factor": 0.5, "threshold": 9.0}


def rates(optimizer: torch.optim.Optimizer) -> list[float]:
    return [group["lr"] for group in optimizer.param_groups]


def test_it_falls_where_the_score_does_not_rise() -> None:
    configured = Optimization(SGD, HALVED).configured([torch.nn.Parameter(torch.ones(1))])
    schedule, optimizer = configured["lr_scheduler"]["scheduler"], configured["optimizer"]
    for score, rate in ((0.1, 0.8), (0.2, 0.8), (0.2, 0.8), (0.1, 0.4), (0.3, 0.4)):
        follow(schedule, {"val/dino": torch.tensor(score), "val/clip_t": torch.tensor(9.0)})
        assert rates(optimizer) == [rate]


def test_what_follows_no_score_is_left_alone() -> None:
    optimizer = SGD([torch.nn.Parameter(torch.ones(1))])
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=0.5)
    follow(schedule, {})
    assert rates(optimizer) == [0.4]


@pytest.mark.parametrize(("rate", "expected"), [(0.8, 0.4), (0.08, 0.04)])
def test_another_rate_on_resume_is_as_many_times_smaller(rate: float, expected: float) -> None:
    before = Optimization(SGD, HALVED).configured([torch.nn.Parameter(torch.ones(1))])
    for score in (0.2, 0.1, 0.1, 0.1):
        follow(before["lr_scheduler"]["scheduler"], {"val/dino": score})
    # As a checkpoint brings it back: the optimizer's state over a fresh one.
    again = Optimization(partial(torch.optim.SGD, lr=rate), HALVED)
    optimizer = again.configured([torch.nn.Parameter(torch.ones(1))])["optimizer"]
    optimizer.load_state_dict(before["optimizer"].state_dict())
    going_on: Any = again.resumed(optimizer, 4, before["lr_scheduler"]["scheduler"])
    assert rates(optimizer) == [pytest.approx(expected)]
    assert (going_on.best, going_on.num_bad_epochs) == (0.2, 1)
    # One bad score more than its patience.
    follow(going_on, {"val/dino": 0.1})
    assert rates(optimizer) == [pytest.approx(expected / 2)]


def options(**changed: Any) -> list[str]:
    given = {**ARGUMENTS, **changed}
    return [SCHEDULE, *(f"--model.scheduler.init_args.{k}={v}" for k, v in given.items())]


def test_a_run_follows_its_score_and_resumes_to_the_bit(workspace: Workspace) -> None:
    def root(name: str) -> str:
        return f"--trainer.default_root_dir={workspace.folder / name}"

    # No score rises by so much: each validation but the first halves the rate.
    every = "--trainer.val_check_interval=1"
    assert workspace.fit(root("whole"), every, "--trainer.max_steps=3", *options()) == 0
    assert workspace.fit(root("cut"), every, "--trainer.max_steps=2", *options()) == 0
    cut = workspace.folder / "cut" / "checkpoints" / "last.ckpt"
    assert main(["fit", f"--ckpt_path={cut}", "--trainer.max_steps=3"]) == 0
    whole = state(workspace.folder / "whole" / "checkpoints" / "last.ckpt")
    resumed = state(cut)
    assert whole["optimizer_states"][0]["param_groups"][0]["lr"] == 1e-2 / 4
    for key in ("lr_schedulers", "optimizer_states", "state_dict"):
        assert_same(whole[key], resumed[key])


def state(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(path, weights_only=True)
    return loaded


def assert_same(left: Any, right: Any) -> None:
    if isinstance(left, torch.Tensor):
        assert torch.equal(left, right)
    elif isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, list):
        for one, other in zip(left, right, strict=True):
            assert_same(one, other)
    else:
        assert left == right


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"monitor": "val_loss"}, "no score 'val_loss'; there are val/balance, val/dino"),
        ({"mode": "min"}, "val/dino is better the higher it is; set it to max"),
    ],
)
def test_a_score_that_there_is_the_right_way_up(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], changed: dict[str, str], said: str
) -> None:
    assert workspace.fit(*options(**changed)) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
    assert "--model.scheduler.init_args." in line
    assert said in line


@pytest.mark.parametrize("kind", ["EarlyStopping", "ModelCheckpoint"])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ('"monitor": "val/loss"', "no score 'val/loss'; there are val/balance"),
        ('"monitor": "val/dino"', "val/dino is better the higher it is"),
        ('"monitor": "train/loss", "mode": "max"', "train/loss is better the lower it is"),
    ],
)
def test_callbacks_follow_scores_that_there_are(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], kind: str, arguments: str, said: str
) -> None:
    path = f'"class_path": "lightning.pytorch.callbacks.{kind}"'
    callback = f'--trainer.callbacks=[{{{path}, "init_args": {{{arguments}}}}}]'
    assert workspace.fit(callback) == 2
    assert said in capsys.readouterr().err
    assert not workspace.run.exists()


def test_a_run_may_be_stopped_early(workspace: Workspace) -> None:
    arguments = '"monitor": "val/dino", "mode": "max", "patience": 1, "min_delta": 9.0'
    path = '"class_path": "lightning.pytorch.callbacks.EarlyStopping"'
    callback = f'--trainer.callbacks=[{{{path}, "init_args": {{{arguments}}}}}]'
    assert workspace.fit(callback, "--trainer.val_check_interval=1") == 0
    assert state(workspace.last)["global_step"] == 2
