"""Callbacks that watch which weights a run changes, and whether its steps wait for the device."""

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback


class WatchWeights(Callback):
    """Fails a run that changes a frozen weight, or leaves a trained one as it was."""

    def __init__(self) -> None:
        self._before: dict[str, torch.Tensor] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._before = {n: p.detach().clone() for n, p in pl_module.named_parameters()}

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for name, parameter in pl_module.named_parameters():
            same = torch.equal(parameter, self._before[name])
            assert same != parameter.requires_grad, name


class NoSyncs(Callback):
    """Fails a run on CUDA in which a step makes the host wait for the device."""

    def __init__(self, after: int) -> None:
        """Lets the first steps wait, which set things up.

        Args:
            after: How many.
        """
        self._after = after

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: object, batch_idx: int
    ) -> None:
        if batch_idx >= self._after:
            torch.cuda.set_sync_debug_mode("error")

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        torch.cuda.set_sync_debug_mode("default")
