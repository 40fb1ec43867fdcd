"""Whether the losses of a training are numbers, found out without making the device wait."""

from collections.abc import Callable

import torch
from torch import Tensor

from idgen.errors import UserError


class FiniteLosses:
    """Looks at each loss when the next one is there.

    To read a loss at once, the host would wait in each step until the device is through with it,
    and launch nothing of the backward pass meanwhile. A step later it is there already.

    Attributes:
        last: The loss that was looked at last, of this process; None before the first.
    """

    def __init__(self) -> None:
        """There is none yet."""
        self.last: float | None = None
        self._noted: tuple[int, Tensor, torch.cuda.Event | None] | None = None

    def note(self, loss: Tensor, step: int, reduced: Callable[[Tensor], Tensor]) -> None:
        """Starts to find out about a loss; `check` says what came of it.

        Args:
            loss: A scalar.
            step: Its number, from 1, for the error.
            reduced: The least value of a scalar over all processes.
        """
        finite = reduced(loss.detach().isfinite().float())
        both = torch.stack([finite, loss.detach().float()])
        if both.device.type != "cuda":
            self._noted = (step, both, None)
            return
        kept = torch.empty(2, pin_memory=True)
        kept.copy_(both, non_blocking=True)
        there = torch.cuda.Event()  # type: ignore[no-untyped-call]
        there.record()
        self._noted = (step, kept, there)

    def check(self) -> None:
        """Looks at the loss that was noted last.

        Raises:
            UserError: If it is infinite or NaN, in any process.
        """
        if self._noted is None:
            return
        step, both, there = self._noted
        if there is not None:
            there.synchronize()
        finite, loss = both.tolist()
        if finite:
            self._noted, self.last = None, loss
        else:
            # Each time: what is saved as the run ends must not be saved either.
            raise UserError(
                f"the loss is not finite at step {step}; lower the optimizer's lr, or set "
                "trainer.precision to 32-true; the checkpoints are those from before"
            )
