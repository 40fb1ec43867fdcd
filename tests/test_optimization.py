"""The optimizer and its schedule, built for parameters."""

import copy
from functools import partial
from typing import Any

import pytest
import torch
from lightning.pytorch.cli import ReduceLROnPlateau as PlateauOfLightning
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, OneCycleLR, ReduceLROnPlateau

from idgen.errors import UserError
from idgen.optimization import Optimization

SGD = partial(torch.optim.SGD, lr=0.5)


@pytest.fixture
def trained() -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.ones(3))]


def test_without_a_schedule_the_rate_is_constant(trained: list[torch.nn.Parameter]) -> None:
    optimizer = Optimization(SGD, None).configured(trained)
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.param_groups[0]["params"] == trained


def test_a_schedule_is_of_the_optimizer_and_of_steps(trained: list[torch.nn.Parameter]) -> None:
    halved = partial(LinearLR, start_factor=1.0, end_factor=0.5, total_iters=1)
    configured = Optimization(SGD, halved).configured(trained)
    schedule = configured["lr_scheduler"]
    assert schedule["interval"] == "step"
    configured["optimizer"].step()
    schedule["scheduler"].step()
    assert configured["optimizer"].param_groups[0]["lr"] == pytest.approx(0.25)


def test_what_can_be_built_is_not_refused() -> None:
    for scheduler in (None, partial(LinearLR, total_iters=2)):
        Optimization(SGD, scheduler).check()


@pytest.mark.parametrize(
    ("optimization", "said"),
    [
        (Optimization(partial(torch.optim.AdamW, lr=-1.0), None), "optimizer: ValueError"),
        (Optimization(SGD, partial(LinearLR, start_factor=-1.0)), "scheduler: ValueError"),
        (
            Optimization(SGD, partial(ReduceLROnPlateau)),
            "scheduler: .*cli.ReduceLROnPlateau",
        ),
        # This one fails at its first step.
        (Optimization(SGD, partial(CosineAnnealingLR, T_max=0)), "scheduler: ZeroDivision"),
    ],
)
def test_values_out_of_range_are_refused(optimization: Optimization, said: str) -> None:
    with pytest.raises(UserError, match=said):
        optimization.check()


def test_a_schedule_that_ends_before_the_run_goes_on_is_refused() -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    short = Optimization(SGD, partial(OneCycleLR, max_lr=0.1, total_steps=3))
    with pytest.raises(UserError, match="scheduler: it cannot stand at step 4"):
        short.resumed(SGD([weight]), 4)


@pytest.mark.parametrize("steps", [3, 10**6])
def test_a_schedule_shorter_than_the_run_is_refused_before_it(steps: int) -> None:
    schedule = Optimization(SGD, partial(OneCycleLR, max_lr=0.1, total_steps=steps))
    schedule.check_length(steps)
    with pytest.raises(UserError, match=f"scheduler: it cannot be stepped {steps + 1} times"):
        schedule.check_length(steps + 1)


@pytest.mark.parametrize(
    "schedule",
    [
        None,
        partial(LinearLR, total_iters=2),
        partial(CosineAnnealingLR, T_max=3),
        partial(PlateauOfLightning, monitor="val/dino"),
    ],
)
def test_a_schedule_without_an_end_fits_any_run(schedule: Any) -> None:
    Optimization(SGD, schedule).check_length(50)


def steps_of(optimizer: torch.optim.Optimizer, weight: torch.nn.Parameter, count: int) -> None:
    for number in range(count):
        weight.grad = torch.sin(torch.arange(6.0) + number)
        optimizer.step()


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_adam_changes_all_weights_in_one_call_and_as_before(kind: Any) -> None:
    start = torch.linspace(-1, 1, 6)
    ours, torchs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    factory = partial(kind, lr=0.1, weight_decay=0.1)
    optimizer = Optimization(factory, None).configured([ours])
    assert optimizer.param_groups[0]["fused"]
    steps_of(optimizer, ours, 3)
    steps_of(factory([torchs]), torchs, 3)
    torch.testing.assert_close(ours, torchs)


@pytest.mark.parametrize("asked", [{"foreach": True}, {"fused": False}, {"differentiable": True}])
def test_what_was_asked_of_adam_stays(asked: dict[str, Any]) -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = Optimization(partial(torch.optim.AdamW, **asked), None).configured([weight])
    assert not optimizer.param_groups[0]["fused"]


def test_a_checkpoint_of_the_loop_goes_on_in_one_call() -> None:
    first, second = (torch.nn.Parameter(torch.ones(6)) for _ in range(2))
    factory = partial(torch.optim.AdamW, lr=0.1)
    loop = factory([first])
    steps_of(loop, first, 2)
    resumed = Optimization(factory, None).configured([second])
    resumed.load_state_dict(copy.deepcopy(loop.state_dict()))
    with torch.no_grad():
        second.copy_(first)
    assert not resumed.param_groups[0]["fused"]
    Optimization(factory, None).resumed(resumed, 2)
    assert resumed.param_groups[0]["fused"]
    steps_of(loop, first, 2)
    steps_of(resumed, second, 2)
    torch.testing.assert_close(second, first)
