"""The progress bar: steps, since a few photos have no epochs worth counting."""

import lightning as L
from lightning.pytorch.callbacks import RichProgressBar

from idgen.module import PersonalizationModule


class TrainingProgress(RichProgressBar):
    """Lightning's rich progress bar, named after what is done.

    It shows the loss of the step before, which is on the host already: to show the last one's, the
    host would wait for the device at each refresh.
    """

    sanity_check_description = "drawing, before training"
    validation_description = "drawing, validation"
    test_description = "drawing, test"
    predict_description = "drawing"

    def _get_train_description(self, current_epoch: int) -> str:
        return "training"

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Takes over to show the loss."""
        super().on_train_start(trainer, pl_module)
        if isinstance(pl_module, PersonalizationModule):
            pl_module.shows_loss = False

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Shows the last loss; a UserError if it is no number."""
        if isinstance(pl_module, PersonalizationModule):
            pl_module.on_train_end()
            pl_module.shows_loss = True
        super().on_train_end(trainer, pl_module)
        self._update_metrics(trainer, pl_module)
        self.refresh()

    def get_metrics(
        self, trainer: L.Trainer, pl_module: L.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """What is shown beside the bar."""
        shown = super().get_metrics(trainer, pl_module)
        if isinstance(pl_module, PersonalizationModule) and pl_module.loss_before is not None:
            shown = {"train/loss": pl_module.loss_before, **shown}
        return shown
