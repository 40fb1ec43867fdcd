"""The training that the mini denoisers share: on latents of the drawn pictures, for a set time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from tools.train_mini.captioned_latents import CaptionedLatents
from tools.train_mini.share import Share
from tools.train_mini.start import start_from
from tools.train_mini.timed import TimedSchedule, TimedTraining


class Task(Protocol):
    """What a denoiser learns."""

    def loss(self, step: int) -> tuple[Tensor, Tensor]:
        """The loss of a step's batch, and the number to report; random in the step alone."""
        ...


def train_denoiser(
    name: str,
    build: Callable[[], Any],
    task: Callable[[Path, Any, str, CaptionedLatents], Task],
    work: Path,
    schedule: TimedSchedule,
    batch: int,
    count: int,
    device: str,
    share: Share,
    start: Path | None = None,
) -> None:
    """Train a denoiser; ``NAME.ckpt`` and the latents are written to ``work``.

    Args:
        name: Of the checkpoint and of the progress.
        build: Makes the untrained denoiser.
        task: Of the folder, the denoiser, the device and the data, what it learns.
        work: Folder of the training run.
        schedule: Time and rates.
        batch: Pictures a step and process.
        count: How many of the pictures to train on.
        device: Torch device.
        share: This process among those that train together.
        start: Folder of a denoiser whose weights to begin with.
    """
    torch.manual_seed(0)
    denoiser = build().to(device)
    if start is not None:
        start_from(denoiser, start)
    data = CaptionedLatents(work, device, batch, count, share)
    loss = task(work, denoiser, device, data).loss
    training = TimedTraining(denoiser, loss, schedule, work / f"{name}.ckpt", share)
    training.run(
        lambda step, value: f"{name}, {step * batch * share.world} samples, loss {value:.4f}",
        on_save=data.latents.save,
    )
