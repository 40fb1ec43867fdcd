"""The progress bar shows losses that are on the host already."""

import csv

import lightning as L
import pytest

from idgen.callbacks.progress import TrainingProgress
from tests.workspace import Workspace


def test_it_shows_the_loss_before_and_at_the_end_the_last(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[float | None] = []
    update = TrainingProgress._update_metrics

    def noted(self: TrainingProgress, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        loss = self.get_metrics(trainer, pl_module).get("train/loss")
        assert loss is None or isinstance(loss, float)
        shown.append(loss)
        update(self, trainer, pl_module)

    monkeypatch.setattr(TrainingProgress, "_update_metrics", noted)
    options = (
        "--trainer.max_steps=3",
        "--trainer.limit_val_batches=0",
        "--trainer.logger=lightning.pytorch.loggers.CSVLogger",
        f"--trainer.logger.save_dir={workspace.folder / 'logs'}",
    )
    assert workspace.fit(*options) == 0
    (table,) = (workspace.folder / "logs").rglob("metrics.csv")
    with table.open() as file:
        logged = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]
    told = [None, *(pytest.approx(loss, rel=1e-5) for loss in logged)]
    # Lightning shows them once more as its epoch ends.
    assert [shown[0], shown[1], shown[2], shown[-1]] == told
