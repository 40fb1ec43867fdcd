"""The optimizer over what is trained, and the schedule of its rate."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch.nn import Parameter
from torch.optim.lr_scheduler import ReduceLROnPlateau

from idgen.errors import UserError


@dataclass(frozen=True)
class Optimization:
    """How what is trained is optimized.

    Attributes:
        optimizer: Makes the optimizer of parameters.
        scheduler: Makes the schedule of an optimizer's rate, stepped each training step; None is
            constant.
    """

    optimizer: OptimizerCallable
    scheduler: LRSchedulerCallable | None

    def __deepcopy__(self, memo: Any) -> "Optimization":
        # What the command line makes of a config holds on to it, and cannot be copied.
        return self

    def configured(self, trained: Iterable[Parameter]) -> Any:
        """Builds both.

        Args:
            trained: The trained parameters.

        Returns:
            What `LightningModule.configure_optimizers` returns.
        """
        optimizer = self.optimizer(trained)
        if self.scheduler is None:
            return optimizer
        schedule = {"scheduler": self.scheduler(optimizer), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def check(self) -> None:
        """Builds both, over a parameter of no consequence, for nothing but what they refuse.

        Raises:
            UserError: If a value of theirs is out of range.
        """
        try:
            optimizer = self.optimizer([Parameter(torch.zeros(1))])
        except Exception as error:  # libraries refuse values in many ways
            raise UserError(f"optimizer: {_reason(error)}") from error
        if self.scheduler is not None:
            self._check_scheduler(self.scheduler, optimizer)

    def _check_scheduler(
        self, factory: LRSchedulerCallable, optimizer: torch.optim.Optimizer
    ) -> None:
        try:
            scheduler = factory(optimizer)
            if not isinstance(scheduler, ReduceLROnPlateau):
                with warnings.catch_warnings():
                    # Some values fail at the first step alone; torch wants the optimizer's before.
                    warnings.simplefilter("ignore")
                    scheduler.step()
        except Exception as error:
            raise UserError(f"scheduler: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
