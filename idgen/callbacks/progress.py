"""The progress bar: steps, since a few photos have no epochs worth counting."""

from lightning.pytorch.callbacks import RichProgressBar


class TrainingProgress(RichProgressBar):
    """Lightning's rich progress bar, named after what is done."""

    sanity_check_description = "drawing, before training"
    validation_description = "drawing, validation"
    test_description = "drawing, test"
    predict_description = "drawing"

    def _get_train_description(self, current_epoch: int) -> str:
        return "training"
