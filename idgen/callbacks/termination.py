"""What a cluster sends before it takes the machine away, and Ctrl-C: save, then stop."""

import signal
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_info

from idgen.callbacks.checkpoint import AdapterCheckpoint

# SIGUSR1 is what SLURM jobs often ask for, and is not there on every system.
_SIGNALS = (signal.SIGTERM, signal.SIGINT, *filter(None, [getattr(signal, "SIGUSR1", None)]))


class GracefulTermination(Callback):
    """On SIGTERM, SIGUSR1 or Ctrl-C, saves `last.ckpt` after the step and stops all processes.

    While training, the handler only sets a flag; the processes agree on it after a step, or after
    a batch of drawings of its validation, so that it does not matter which of them got the signal.
    A second signal, or one while nothing that could be saved is under way (preparation, `test`,
    `predict`), ends the process at once. The exit code is 128 plus the signal's number, as a shell
    gives it: 143, 138 or 130.

    Attributes:
        received: The signal's number, None if there was none.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._training = False
        self._step = 0
        self._previous: dict[int, Any] = {}

    @property
    def exit_code(self) -> int:
        """0, or 128 plus the number of the signal that ended the run."""
        return 0 if self.received is None else 128 + self.received

    def install(self) -> None:
        """Takes the signals over, from Lightning too, whose own way hangs other processes."""
        for number in _SIGNALS:
            previous = signal.signal(number, self._note)
            self._previous.setdefault(number, previous)

    def restore(self) -> None:
        """Gives the signals back."""
        for number, previous in self._previous.items():
            signal.signal(number, previous)
        self._previous = {}

    def _note(self, signum: int, frame: FrameType | None) -> None:
        again, self.received = self.received is not None, signum
        if again or not self._training:
            raise SystemExit(self.exit_code)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """From here on there is something to save."""
        self.install()
        self._training = True
        self._step = trainer.global_step

    def on_sanity_check_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Takes the signals over."""
        self.install()

    on_validation_start = on_test_start = on_predict_start = on_sanity_check_start

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        """Stops once any process was told to, after a step of the optimizer.

        Between two of them, gradients are gathered that no checkpoint holds.
        """
        stepped, self._step = trainer.global_step > self._step, trainer.global_step
        if stepped and self._is_told(trainer):
            # Lightning would validate before it stops: minutes that a cluster does not give.
            trainer.limit_val_batches = 0
            trainer.should_stop = True

    def on_validation_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        """Stops a fit's validation once any process was told to; all take as many batches.

        Raises:
            SystemExit: Then; Lightning knows no other way out of a validation.
        """
        if self._training and self._is_told(trainer):
            self._save(trainer)
            raise SystemExit(self.exit_code)

    def _is_told(self, trainer: L.Trainer) -> bool:
        told = trainer.strategy.reduce_boolean_decision(self.received is not None, all=False)
        if told and self.received is None:
            self.received = int(signal.SIGTERM)
        return told

    def _save(self, trainer: L.Trainer) -> None:
        checkpoint = trainer.checkpoint_callback
        if isinstance(checkpoint, AdapterCheckpoint):
            checkpoint.save_last_now(trainer)
            rank_zero_info(
                "stopped by a signal; the same command goes on from here, or resume with "
                f"--ckpt_path {checkpoint.last_path}"
            )

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves a run that was stopped; from here on there is nothing to save."""
        if self.received is not None:
            # Not sooner: within a batch, Lightning has not counted it as done yet.
            self._save(trainer)
        self._training = False
