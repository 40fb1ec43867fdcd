"""What may follow a score while a run trains: only scores that there are, the right way up."""

from collections.abc import Iterable
from typing import Any

from idgen.callbacks.checkpoint import MONITORED
from idgen.errors import UserError
from idgen.module import PersonalizationModule


def check_monitors(callbacks: Iterable[Any], module: PersonalizationModule) -> None:
    """Refuses schedules and callbacks that follow a score which nothing logs, or upside down.

    Args:
        callbacks: Of the trainer, such as `EarlyStopping`.
        module: What logs while it trains, and has the schedule.

    Raises:
        UserError: If one does.
    """
    plateau = module.optimization.plateau()
    if plateau is not None:
        _check("scheduler", plateau, MONITORED)
    trained = ("train/loss", *(f"train/{name}" for name in module.objective.terms))
    for callback in callbacks:
        if isinstance(getattr(callback, "monitor", None), str):
            _check(type(callback).__name__, callback, (*MONITORED, *trained))


def _check(name: str, follower: Any, known: tuple[str, ...]) -> None:
    monitor, mode = follower.monitor, getattr(follower, "mode", None)
    if monitor not in known:
        raise UserError(f"{name}.monitor: no score {monitor!r}; there are {', '.join(known)}")
    right = "max" if monitor in MONITORED else "min"
    if mode in ("min", "max") and mode != right:
        better = "higher" if right == "max" else "lower"
        raise UserError(
            f"{name}.mode is {mode}, and {monitor} is better the {better} it is; set it to {right}"
        )
