"""SIGTERM, as a cluster sends it before it takes the machine away: save, then stop."""

import signal
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_warn

from idgen.callbacks.checkpoint import AdapterCheckpoint

SIGTERM_EXIT_CODE = 143


class GracefulTermination(Callback):
    """On SIGTERM, saves `last.ckpt` at the end of the step and stops training on all processes.

    The handler only sets a flag; the processes agree on it after a step, so that it does not
    matter which of them got the signal. The command line then exits with code 143.
    """

    def __init__(self) -> None:
        self.received = False
        self._previous: Any = None

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.received = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Takes the signal over from Lightning, whose own way hangs other processes."""
        self._previous = signal.signal(signal.SIGTERM, self._note)

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        """Stops once any process was told to."""
        if not trainer.strategy.reduce_boolean_decision(self.received, all=False):
            return
        self.received = True
        checkpoint = trainer.checkpoint_callback
        if isinstance(checkpoint, AdapterCheckpoint):
            checkpoint.save_last_now(trainer)
            rank_zero_warn(f"stopped by SIGTERM; resume with --ckpt_path {checkpoint.last_path}")
        trainer.should_stop = True

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Gives the signal back."""
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)
            self._previous = None
