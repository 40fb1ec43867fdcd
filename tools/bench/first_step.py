"""When the first training step of a fit begins."""

import json
import time
from pathlib import Path
from typing import Any

import lightning as L


class FirstStep(L.Callback):
    """Writes the time of the first step to a file."""

    follows_loss = False

    def __init__(self, result: Path) -> None:
        """Sets where it goes.

        Args:
            result: The file; JSON with the monotonic clock, and processor seconds until then.
        """
        self.result = result

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Notes the times, once."""
        if not self.result.exists():
            reached = {"clock": time.monotonic(), "processor": time.process_time()}
            self.result.write_text(json.dumps(reached))
