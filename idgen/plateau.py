"""Schedules that follow a score: the rate falls where it no longer rises."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch.cli import ReduceLROnPlateau
from torch.optim.lr_scheduler import LRScheduler

_FIRST = "initial_lr"
_NEVER = 2**31
_STATE = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")


def plateau_config(schedule: ReduceLROnPlateau, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """What Lightning is told of a schedule that `follow` steps.

    Lightning would step it once the checkpoint of a validation is written, so that a resumed run
    would not know of that validation.

    Args:
        schedule: Of the optimizer's rate.
        optimizer: Its groups are given the rate that they start from.

    Returns:
        A schedule that Lightning stores and never steps.
    """
    for group in optimizer.param_groups:
        group[_FIRST] = group["lr"]
    monitor = schedule.monitor
    return {"scheduler": schedule, "monitor": monitor, "interval": "epoch", "frequency": _NEVER}


def follow(schedule: Any, scores: Mapping[str, Any]) -> None:
    """Shows a schedule the scores of a validation; one that follows none stays as it is.

    Args:
        schedule: Of any kind.
        scores: By name.
    """
    if isinstance(schedule, ReduceLROnPlateau):
        schedule.step(float(scores[schedule.monitor]))


def resumed_plateau(
    factory: Callable[[torch.optim.Optimizer], Any],
    optimizer: torch.optim.Optimizer,
    settings: Sequence[Mapping[str, Any]],
    restored: LRScheduler | None,
) -> Any:
    """The configured schedule, as far as the checkpoint's had come.

    The rate is the configured one, as many times smaller as it had become.

    Args:
        factory: Makes the configured schedule.
        optimizer: With the checkpoint's state.
        settings: The optimizer's configured settings, of each group.
        restored: The schedule with the checkpoint's state; None without one.
    """
    for group, configured in zip(optimizer.param_groups, settings, strict=True):
        first, rate = group.get(_FIRST, group["lr"]), group["lr"]
        group.update(configured)
        group[_FIRST] = group["lr"]
        # To the bit where nothing was changed.
        group["lr"] = rate if first == group["lr"] else group["lr"] * (rate / first)
    going_on = factory(optimizer)
    if isinstance(restored, ReduceLROnPlateau) and restored.monitor == going_on.monitor:
        for name in _STATE:
            setattr(going_on, name, getattr(restored, name))
    return going_on
