"""Pictures for a run's loggers."""

from collections.abc import Iterable, Sequence

import numpy as np
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from PIL import Image


def log_pictures(
    loggers: Iterable[Logger], name: str, pictures: Sequence[Image.Image], step: int
) -> None:
    """Shows pictures in TensorBoard and Weights & Biases; other loggers take none.

    Args:
        loggers: The trainer's.
        name: What they are shown as; further ones with a number behind it.
        pictures: RGB.
        step: Of training.
    """
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            for number, picture in enumerate(pictures, start=1):
                tag = f"{name}-{number}" if number > 1 else name
                logger.experiment.add_image(tag, np.asarray(picture), step, dataformats="HWC")
        elif isinstance(logger, WandbLogger):
            logger.log_image(name, list(pictures), step)
