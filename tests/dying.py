"""A callback that ends a fit as a kill would, once, so that the same command can be repeated."""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback


class KilledError(Exception):
    """What ends it: no callback saves anything on it."""


class DieOnce(Callback):
    """Dies at the moment that a file names, and removes the file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def on_sanity_check_end(self, trainer: L.Trainer, *args: Any) -> None:
        self._die_at("sanity")

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        self._die_at(f"step {trainer.global_step + 1}")

    def _die_at(self, moment: str) -> None:
        if self.file.exists() and self.file.read_text() == moment:
            self.file.unlink()
            raise KilledError
