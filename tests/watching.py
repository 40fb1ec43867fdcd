"""A callback that watches which weights a run changes."""

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
