"""Callbacks for tests that look at processes."""

import hashlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch.distributed.tensor import DTensor


class SignalItself(Callback):
    """Sends its process a signal in a step, or while it draws, as a cluster or a user would."""

    def __init__(
        self,
        step: int = 2,
        rank: int = 0,
        number: int = int(signal.SIGTERM),
        in_validation: bool = False,
    ) -> None:
        self.step = step
        self.in_validation = in_validation
        self.rank = rank
        self.number = number

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        if not self.in_validation and trainer.global_step + 1 == self.step:
            self._signal(trainer)

    def on_validation_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self.in_validation and trainer.global_step == self.step and batch_idx == 0:
            self._signal(trainer)

    def _signal(self, trainer: L.Trainer) -> None:
        if trainer.global_rank == self.rank:
            os.kill(os.getpid(), self.number)

    def on_predict_batch_start(self, *args: Any, **kwargs: Any) -> None:
        os.kill(os.getpid(), self.number)


class RecordParameters(Callback):
    """Writes a hash of the trained parameters of each process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        digest = hashlib.sha256()
        for name, parameter in pl_module.named_parameters():
            if parameter.requires_grad:
                digest.update(name.encode() + parameter.detach().numpy().tobytes())
        record = {"hash": digest.hexdigest(), "step": trainer.global_step}
        (self.folder / f"rank-{trainer.global_rank}.json").write_text(json.dumps(record))


class RecordHeld(Callback):
    """Writes how many of the denoiser's weights each process holds between steps."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        module: Any = pl_module
        weights = list(module.backbone.denoiser.parameters())
        split = [weight for weight in weights if isinstance(weight, DTensor)]
        frozen = [weight for weight in weights if not weight.requires_grad]
        counted = {
            "frozen": sum(weight.numel() for weight in frozen),
            "frozen_split": sum(weight.numel() for weight in split),
            "here": sum(weight.to_local().numel() for weight in split),
            "trained_split": sum(weight.requires_grad for weight in split),
        }
        (self.folder / f"held-{trainer.global_rank}.json").write_text(json.dumps(counted))


class LossInOneProcess(Callback):
    """Makes one process's loss no number in a step."""

    def __init__(self, step: int, rank: int) -> None:
        """Says where.

        Args:
            step: From 1.
            rank: Of the process.
        """
        self.step, self.rank = step, rank

    def on_before_backward(
        self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Any
    ) -> None:
        """Changes the value alone; gradients are as they were."""
        if trainer.global_step + 1 == self.step and trainer.global_rank == self.rank:
            loss.data.fill_(float("nan"))
