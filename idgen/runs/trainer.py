"""The trainer's own settings: what they may be, and what is said of them before and after."""

import math
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

import lightning as L
from jsonargparse import Namespace
from lightning import Trainer
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BatchSizeFinder,
    EarlyStopping,
    GradientAccumulationScheduler,
    LearningRateFinder,
    ModelPruning,
    StochasticWeightAveraging,
    Timer,
)
from lightning.pytorch.strategies import (
    DDPStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
    Strategy,
    StrategyRegistry,
)
from lightning.pytorch.trainer.states import TrainerFn

from idgen.errors import UserError
from idgen.runs.quiet import HeldLines
from idgen.runs.sharding import FROZEN_SHARDED, FrozenShardedStrategy

# Those that Lightning takes and stumbles over later, or passes over.
_LEAST = {
    "val_check_interval": 1,
    "check_val_every_n_epoch": 1,
    "accumulate_grad_batches": 1,
    "gradient_clip_val": 0,
    "log_every_n_steps": 0,
    "num_sanity_val_steps": -1,
    "min_steps": 0,
    "min_epochs": 0,
}
_SHARDING = (FSDPStrategy, ModelParallelStrategy)
_SHARDING_NAMES = ("fsdp", "deepspeed", "modelparallel")

# Callbacks of Lightning's that a run cannot keep its word with.
_REFUSED: dict[type[L.Callback], str] = {
    GradientAccumulationScheduler: (
        "changes how many batches a step of the optimizer takes, so that checkpoints would fall "
        "between two; leave it out, and set trainer.accumulate_grad_batches"
    ),
    BatchSizeFinder: (
        "would train with another batch size than the config that is stored; leave it out, and set "
        "data.batch_size"
    ),
    LearningRateFinder: (
        "would train with another rate than the config that is stored; leave it out, and set the "
        "optimizer's lr"
    ),
    BackboneFinetuning: "would freeze what is trained in the backbone, then train all of it",
    ModelPruning: "would prune the frozen backbone too; leave it out",
    StochasticWeightAveraging: (
        "replaces the schedule and does not resume to the bit; take EMAWeightAveraging"
    ),
}


def check_trainer_values(trainer: Namespace) -> None:
    """Refuses numbers that the trainer would stumble over once it runs.

    Args:
        trainer: Its section of a config.

    Raises:
        UserError: If one is out of range.
    """
    _check_strategy(trainer.get("strategy"))
    _check_windows(trainer)
    for name, least in _LEAST.items():
        value = trainer.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        if name == "val_check_interval" and 0 < value < 1 and trainer.check_val_every_n_epoch:
            continue  # a share of an epoch
        if not (value >= least and math.isfinite(value)):
            whole = "a number from" if name == "gradient_clip_val" else "a whole number from"
            raise UserError(f"--trainer.{name}: {value} is not {whole} {least} on; change it")


def _check_strategy(strategy: Any) -> None:
    """Refuses what splits weights between processes."""
    kind = getattr(strategy, "class_path", type(strategy).__name__)  # built or not yet
    name = strategy if isinstance(strategy, str) else str(kind).rpartition(".")[2]
    if isinstance(strategy, _SHARDING) or name.lower().startswith(_SHARDING_NAMES):
        raise UserError(
            f"--trainer.strategy: {name} would split what is trained too, which checkpoints hold "
            f"whole; take {FROZEN_SHARDED}, which splits the frozen denoiser alone, or ddp"
        )
    known = ["auto", *StrategyRegistry.available_strategies()]
    if isinstance(strategy, str) and strategy.lower() not in known:
        named = strategy.lower().replace("-", "_")
        near = get_close_matches(named, ["auto", "ddp", FROZEN_SHARDED], 1, 0.5)
        mend = f"did you mean {near[0]!r}?" if near else f"take auto, ddp or {FROZEN_SHARDED}"
        raise UserError(
            f"--trainer.strategy: no strategy is called {strategy!r}, and a class is named with "
            f"its module; {mend}"
        )


def _check_windows(trainer: Namespace) -> None:
    """Refuses what would cut a window of gathered gradients, or validate in the midst of one."""
    gathered = trainer.accumulate_grad_batches
    if gathered <= 1:
        return
    interval = trainer.val_check_interval
    if not (interval is None or isinstance(interval, int) or interval == 1.0):
        raise UserError(
            f"--trainer.val_check_interval: {interval} may fall between two steps of the optimizer "
            f"where trainer.accumulate_grad_batches is {gathered}; give a whole number of steps"
        )
    for name, all_of_them in (("limit_train_batches", 1.0), ("overfit_batches", 0.0)):
        batches = trainer.get(name)
        if batches is None or (isinstance(batches, float) and batches == all_of_them):
            continue
        if isinstance(batches, float) or batches % gathered:
            raise UserError(
                f"--trainer.{name}: {batches} is no multiple of "
                f"trainer.accumulate_grad_batches, {gathered}: the last step of an epoch would be "
                "cut; give a whole number of batches that is one"
            )


def let_gradients_share_memory(strategy: Strategy) -> None:
    """Has processes that average gradients keep these once, and not in a buffer besides.

    Sums and results are the same. What a user's own strategy says of it stays. Graphs are not
    said to be static: terms and routing may take other ways from step to step.

    Args:
        strategy: The trainer's, of any kind.
    """
    if isinstance(strategy, DDPStrategy) and type(strategy) in (DDPStrategy, FrozenShardedStrategy):
        strategy._ddp_kwargs.setdefault("gradient_as_bucket_view", True)


def check_end(trainer: L.Trainer) -> None:
    """Refuses a fit that nothing ends.

    Raises:
        UserError: If it has no number of steps or epochs, no time, and no callback that stops it.
    """
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    stops = any(isinstance(callback, (EarlyStopping, Timer)) for callback in callbacks)
    if trainer.max_steps < 0 and trainer.max_epochs == -1 and not stops:
        raise UserError(
            "--trainer.max_steps: nothing ends this run; set it, such as to 1000, or max_epochs, "
            "or max_time"
        )


def check_callbacks(callbacks: Iterable[L.Callback]) -> None:
    """Refuses callbacks of Lightning's under which a run would not be what its config says.

    Args:
        callbacks: The trainer's.

    Raises:
        UserError: If there is one.
    """
    for callback in callbacks:
        for kind, reason in _REFUSED.items():
            if isinstance(callback, kind):
                raise UserError(f"--trainer.callbacks: {kind.__name__} {reason}")


def expected_steps(trainer: L.Trainer, steps_per_epoch: int) -> int | None:
    """How many steps of the optimizer a fit takes if it comes to its end; None if that is open.

    Args:
        trainer: The run's.
        steps_per_epoch: Of the optimizer, where nothing limits an epoch.
    """
    gathered, limit = trainer.accumulate_grad_batches, trainer.limit_train_batches
    batches = steps_per_epoch * gathered
    # As Lightning has it: a share is rounded down.
    batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    known = [trainer.max_steps] if trainer.max_steps >= 0 else []
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        known.append(trainer.max_epochs * math.ceil(batches / gathered))
    return min(known, default=None)


def check_trainer_builds(trainer: Namespace) -> L.Trainer:
    """Builds a trainer with these settings, for what it refuses and says of itself.

    Args:
        trainer: Its section of a config, built.

    Returns:
        The trainer, without logger and callbacks.

    Raises:
        MisconfigurationException: If Lightning refuses one.
        UserError: If a number is out of range.
    """
    check_trainer_values(trainer)
    held = HeldLines()
    try:
        return Trainer(**{**vars(trainer), "logger": False, "callbacks": None})
    finally:
        held.drop()


def untrained_note(trainer: L.Trainer, before: int) -> str | None:
    """Why a fit trained nothing; None if it trained.

    Args:
        trainer: After `fit`.
        before: Steps that its checkpoint had been trained for.
    """
    if trainer.state.fn != TrainerFn.FITTING or trainer.global_step > before:
        return None
    reasons = {
        f"max_steps is {trainer.max_steps}": 0 <= trainer.max_steps <= before,
        f"max_epochs is {trainer.max_epochs}": trainer.max_epochs == 0,
        f"limit_train_batches is {trainer.limit_train_batches:g}": not trainer.limit_train_batches,
    }
    reason = next((said for said, true in reasons.items() if true), "it was stopped before a step")
    at = f", and the checkpoint is at step {before}" if before else ""
    return f"nothing was trained: {reason}{at}"
