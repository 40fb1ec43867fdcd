"""The progress bar: steps, since a few photos have no epochs worth counting."""

from lightning.pytorch.callbacks import RichProgressBar


class TrainingProgress(RichProgressBar):
    """Lightning's rich progress bar, named after what is done."""

    def _get_train_description(self, current_epoch: int) -> str:
        return "training"

    @property
    def validation_description(self) -> str:
        """Before the bar while validation draws."""
        return "drawing, validation"

    @property
    def test_description(self) -> str:
        """Before the bar while test draws."""
        return "drawing, test"

    @property
    def predict_description(self) -> str:
        """Before the bar while predict draws."""
        return "drawing"

    @property
    def sanity_check_description(self) -> str:
        """Before the bar while the untrained model draws."""
        return "drawing, before training"
