"""The optimizer over what is trained, and the schedule of its rate."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable, ReduceLROnPlateau
from torch.nn import Parameter
from torch.optim.lr_scheduler import LRScheduler

from idgen.errors import UserError
from idgen.plateau import plateau_config, resumed_plateau


@dataclass(frozen=True)
class Optimization:
    """How what is trained is optimized.

    Attributes:
        optimizer: Makes the optimizer of parameters.
        scheduler: Makes the schedule of an optimizer's rate, stepped each training step; None is
            constant.
        text_lr: The rate of what is trained on the text side; None for the optimizer's own.
    """

    optimizer: OptimizerCallable
    scheduler: LRSchedulerCallable | None
    text_lr: float | None = None

    def __deepcopy__(self, memo: Any) -> "Optimization":
        # What the command line makes of a config holds on to it, and cannot be copied.
        return self

    def configured(self, trained: Sequence[Parameter], text: Sequence[Parameter] = ()) -> Any:
        """Builds both.

        Args:
            trained: The trained parameters.
            text: Those of the text side among them.

        Returns:
            What `LightningModule.configure_optimizers` returns.
        """
        optimizer = self._optimizer(trained, text)
        if self.scheduler is None:
            return optimizer
        schedule = self.scheduler(optimizer)
        config: dict[str, Any] = {"scheduler": schedule, "interval": "step"}
        if isinstance(schedule, ReduceLROnPlateau):
            config = plateau_config(schedule, optimizer)
        return {"optimizer": optimizer, "lr_scheduler": config}

    def _optimizer(
        self, trained: Sequence[Parameter], text: Sequence[Parameter]
    ) -> torch.optim.Optimizer:
        """Over one group of parameters; the text side is a second one at a rate of its own."""
        if self.text_lr is None:
            return in_one_pass(self.optimizer(trained))
        of_text = {id(parameter) for parameter in text}
        others = [parameter for parameter in trained if id(parameter) not in of_text]
        groups: Any = [{"params": others}] * bool(others)
        groups += [{"params": list(text), "lr": self.text_lr}]
        return in_one_pass(self.optimizer(groups))

    def plateau(self) -> ReduceLROnPlateau | None:
        """The schedule, over a parameter of no consequence, where it follows a score."""
        if self.scheduler is None:
            return None
        schedule = self.scheduler(self.optimizer([_unimportant()]))
        return schedule if isinstance(schedule, ReduceLROnPlateau) else None

    @property
    def kind(self) -> str:
        """The optimizer's class, whose state a checkpoint holds, and how that is grouped."""
        kind = type(self.optimizer([_unimportant()]))
        apart = "" if self.text_lr is None else " with text_lr"
        return f"{kind.__module__}.{kind.__qualname__}{apart}"

    def resumed(
        self, optimizer: torch.optim.Optimizer, steps: int, restored: LRScheduler | None = None
    ) -> LRScheduler | None:
        """Makes what a checkpoint restored do what the configuration says from here on.

        A checkpoint's state brings the settings that it was saved with. The moments are kept, the
        settings are the configured ones, and the schedule stands where it would after so many
        steps.

        Args:
            optimizer: With the checkpoint's state.
            steps: That were trained.
            restored: The schedule with the checkpoint's state, which one that follows a score goes
                on from.

        Returns:
            The schedule that goes on; None without one.

        Raises:
            UserError: If the schedule ends before that.
        """
        fresh = self.optimizer([_unimportant()])
        own = {k: v for k, v in fresh.param_groups[0].items() if k != "params"}
        settings = [dict(own) for _ in optimizer.param_groups]
        if self.text_lr is not None:
            settings[-1]["lr"] = self.text_lr
        if self.scheduler is not None and self.plateau() is not None:
            going_on: LRScheduler = resumed_plateau(self.scheduler, optimizer, settings, restored)
            in_one_pass(optimizer)
            return going_on
        for group, configured in zip(optimizer.param_groups, settings, strict=True):
            group.pop("initial_lr", None)
            group.update(configured)
        in_one_pass(optimizer)
        if self.scheduler is None:
            return None
        going_on = self.scheduler(optimizer)
        try:
            with warnings.catch_warnings():
                # torch wants a step of the optimizer before each of these.
                warnings.simplefilter("ignore")
                for _ in range(steps):
                    going_on.step()
        except ValueError as error:
            raise UserError(
                f"scheduler: it cannot stand at step {steps}, where the run goes on ({error})"
            ) from error
        return going_on

    def check(self) -> None:
        """Builds both, over a parameter of no consequence, for nothing but what they refuse.

        Raises:
            UserError: If a value of theirs is out of range.
        """
        try:
            optimizer = self.optimizer([_unimportant()])
        except Exception as error:  # libraries refuse values in many ways
            raise UserError(f"optimizer: {_reason(error)}") from error
        if self.text_lr is not None and "lr" not in optimizer.param_groups[0]:
            raise UserError("text_lr: the optimizer has no lr; leave text_lr out")
        if self.scheduler is not None:
            self._check_scheduler(self.scheduler, optimizer)

    def check_length(self, steps: int) -> None:
        """Refuses a schedule that cannot be stepped so often, such as a OneCycleLR that is shorter.

        Args:
            steps: Of the whole run, those before a resumed one's start included.

        Raises:
            UserError: If the schedule ends before the last of them, or where `check` raises one.
        """
        self.check()
        if self.scheduler is None or steps < 1:
            return
        schedule = self.scheduler(self.optimizer([_unimportant()]))
        if isinstance(schedule, ReduceLROnPlateau):
            return
        # Straight to the last step: a long run has too many to take each of them.
        schedule.last_epoch = steps - 1
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                schedule.step()
        except Exception as error:  # schedules refuse a step in many ways
            raise UserError(
                f"scheduler: it cannot be stepped {steps} times, which is the length of the run "
                f"({_reason(error)}); make it longer, or trainer.max_steps smaller"
            ) from error

    def _check_scheduler(
        self, factory: LRSchedulerCallable, optimizer: torch.optim.Optimizer
    ) -> None:
        try:
            scheduler = factory(optimizer)
            if isinstance(scheduler, ReduceLROnPlateau):
                return
            if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
                raise TypeError(
                    "torch's ReduceLROnPlateau does not say which score it follows; take "
                    "lightning.pytorch.cli.ReduceLROnPlateau, with monitor: val/balance and "
                    "mode: max"
                )
            with warnings.catch_warnings():
                # Some values fail at the first step alone; torch wants the optimizer's before.
                warnings.simplefilter("ignore")
                scheduler.step()
        except Exception as error:
            raise UserError(f"scheduler: {_reason(error)}") from error


def in_one_pass(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Has Adam and AdamW change all weights in one call, where nothing else was asked for.

    torch's own choice is a loop over the weights on a CPU, some ten small calls for each.

    Args:
        optimizer: Over weights where they are trained; of any kind.

    Returns:
        The same.
    """
    if type(optimizer) not in (torch.optim.Adam, torch.optim.AdamW):
        return optimizer
    for group in optimizer.param_groups:
        asked = [group[name] for name in ("foreach", "fused")] + [group["differentiable"]]
        where = {weight.device.type for weight in group["params"]}
        if asked != [None, None, False] or not where <= {"cpu", "cuda"}:
            continue
        group["fused"] = True
        for weight in group["params"]:
            # Another way's checkpoint has it on the CPU.
            if "step" in (state := optimizer.state.get(weight, {})):
                state["step"] = state["step"].to(weight.device, torch.float32)
    return optimizer


def _unimportant() -> Parameter:
    return Parameter(torch.zeros(1, 1))


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
