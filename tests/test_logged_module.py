"""What a training notes of its steps, and when."""

from typing import ClassVar

import lightning as L
import pytest
from lightning.pytorch.callbacks import Callback, LambdaCallback, ModelCheckpoint, ModelSummary
from torch import Tensor

from idgen.logged_module import LoggedModule, _may_follow_the_loss
from idgen.models.conditioning import Condition
from tests.workspace import Workspace

NEVER_LOGGED = ("--trainer.log_every_n_steps=100", "--trainer.limit_val_batches=0")


class SeenLosses(Callback):
    """What callbacks are shown after each step."""

    shown: ClassVar[list[float | None]] = []

    def on_train_batch_end(self, trainer: L.Trainer, *others: object) -> None:
        """Notes the loss, if there is one."""
        loss = trainer.callback_metrics.get("train/loss")
        self.shown.append(None if loss is None else float(loss))


class UnconcernedLosses(SeenLosses):
    """Sees them as well, and says that it needs none."""

    follows_loss = False


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The losses of all steps."""
    noted: list[float] = []
    log = LoggedModule._log_step

    def noting(
        self: LoggedModule, total: Tensor, losses: dict[str, Tensor], condition: Condition
    ) -> None:
        noted.append(total.item())
        log(self, total, losses, condition)

    monkeypatch.setattr(LoggedModule, "_log_step", noting)
    return noted


def test_a_loss_that_nothing_looks_at_is_not_noted(
    workspace: Workspace, losses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SeenLosses, "shown", [])
    options = (f"--trainer.callbacks+={__name__}.UnconcernedLosses", "--trainer.max_steps=3")
    assert workspace.fit(*NEVER_LOGGED, *options) == 0
    assert SeenLosses.shown == [None] * 3
    assert len(losses) == 3


def test_callbacks_of_others_see_the_loss_of_each_step(
    workspace: Workspace, losses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SeenLosses, "shown", [])
    options = (f"--trainer.callbacks+={__name__}.SeenLosses", "--trainer.max_steps=3")
    assert workspace.fit(*NEVER_LOGGED, *options) == 0
    assert SeenLosses.shown == pytest.approx(losses)
    assert len(losses) == 3


def test_a_checkpoint_named_after_the_loss_has_that_of_its_step(
    workspace: Workspace, losses: list[float]
) -> None:
    kept = workspace.folder / "named"
    options = (
        "--trainer.max_steps=3",
        "--trainer.callbacks+=lightning.pytorch.callbacks.ModelCheckpoint",
        "--trainer.callbacks.filename={train/loss:.5f}",
        "--trainer.callbacks.auto_insert_metric_name=false",
        "--trainer.callbacks.every_n_train_steps=1",
        "--trainer.callbacks.save_top_k=-1",
        f"--trainer.callbacks.dirpath={kept}",
    )
    assert workspace.fit(*NEVER_LOGGED, *options) == 0
    assert {path.stem for path in kept.glob("*.ckpt")} == {f"{loss:.5f}" for loss in losses}


def test_whatever_a_callback_of_ones_own_calls_may_follow_the_loss() -> None:
    assert _may_follow_the_loss(LambdaCallback())
    assert not _may_follow_the_loss(ModelSummary())


def test_a_callback_that_follows_the_loss_sees_that_of_each_step(
    workspace: Workspace, losses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    best: list[float] = []
    save = ModelCheckpoint.on_train_end

    def noted(self: ModelCheckpoint, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.monitor == "train/loss":
            assert self.best_model_score is not None
            best.append(float(self.best_model_score))
        save(self, trainer, pl_module)

    monkeypatch.setattr(ModelCheckpoint, "on_train_end", noted)
    options = (
        "--trainer.max_steps=4",
        "--trainer.callbacks+=lightning.pytorch.callbacks.ModelCheckpoint",
        "--trainer.callbacks.monitor=train/loss",
        "--trainer.callbacks.every_n_train_steps=1",
        f"--trainer.callbacks.dirpath={workspace.folder / 'best'}",
    )
    assert workspace.fit(*NEVER_LOGGED, *options) == 0
    assert best == [pytest.approx(min(losses))]
