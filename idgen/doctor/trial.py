"""A few training steps on this device: how long one takes, and whether it changes anything."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Any

import lightning as L
import torch
from jsonargparse import Namespace
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from idgen.data.batch import PriorBatch, SceneBatch, ShownPhotos, SubjectBatch
from idgen.data.datamodule import SubjectDataModule
from idgen.data.prompts import without_token
from idgen.doctor.memory import largest_latents
from idgen.models.decoupling import PhotoFeatures
from idgen.module import PersonalizationModule
from idgen.runs.quiet import HeldLines

STEPS = 10
_OF_THE_TRIAL = ("accelerator", "precision", "accumulate_grad_batches", "gradient_clip_val")


@dataclass(frozen=True)
class Trial:
    """What came of it.

    Attributes:
        device: Where it ran.
        seconds: A step, the median without the first.
        moved: The largest change of what the denoiser predicts for a prompt with [V].
        peak: Bytes of the GPU's memory at most; None on a CPU.
    """

    device: torch.device
    seconds: float
    moved: float
    peak: int | None


class _Stopwatch(Callback):
    """Notes when each step ends."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **options: Any) -> None:
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())


def try_training(
    module: PersonalizationModule, data: SubjectDataModule, trainer: Namespace
) -> Trial:
    """Trains a few steps on made-up latents and features, which take as long as real ones.

    Args:
        module: Light; what it trains is changed afterwards.
        data: Says how large a batch is.
        trainer: The section of the config.

    Raises:
        UserError: If weights do not fit, or the loss is not finite.
    """
    watch, held = _Stopwatch(), HeldLines()
    settings = {name: trainer[name] for name in _OF_THE_TRIAL if name in trainer}
    with TemporaryDirectory() as root:
        made = L.Trainer(
            **settings,
            devices=1,
            max_steps=STEPS,
            limit_val_batches=0,
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=root,
            callbacks=[watch],
        )
        try:
            module.configure_model()
            device = made.strategy.root_device
            spoken, plain = (
                data.subject.spoken(data.subject.prompt),
                without_token(data.subject.prompt),
            )
            module.backbone.keep_texts([spoken, plain, "", _prompt(module)], device)
            module.to(device)
            before = _predicted(module, device)
            made.fit(module, DataLoader(_MadeUp(module, data), batch_size=None))
        finally:
            held.drop()
    module.to(device)
    moved = float((_predicted(module, device) - before).abs().max())
    steps = [late - early for early, late in zip(watch.times, watch.times[1:], strict=False)]
    median = sorted(steps)[len(steps) // 2] * made.accumulate_grad_batches
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return Trial(device, median, moved, peak)


def _prompt(module: PersonalizationModule) -> str:
    return f"a photo of a {module.words.token} {module.words.class_noun}"


@torch.no_grad()
def _predicted(module: PersonalizationModule, device: torch.device) -> Tensor:
    """What the denoiser predicts for a prompt with [V], always from the same noise."""
    backbone = module.backbone
    was_training = module.training
    module.eval()
    noise = torch.randn(2, *backbone.latent_shape, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([backbone.process.steps // 4, backbone.process.steps // 2], device=device)
    text = backbone.encode([_prompt(module)] * 2)
    predicted = backbone.predict(noise.to(device), times, module.conditioning.infer(text))
    module.train(was_training)
    return predicted.cpu()


@dataclass
class _MadeUp(IterableDataset[SubjectBatch]):
    """Batches of the run's shapes, of noise."""

    module: PersonalizationModule
    data: SubjectDataModule
    generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))

    def __iter__(self) -> Iterator[SubjectBatch]:
        position = 0
        while True:
            yield self._batch(position)
            position += 1

    def _batch(self, position: int) -> SubjectBatch:
        rows, objective = self.data.batch_size, self.module.objective
        subject = self.data.subject
        plain = without_token(subject.prompt)
        latents, flat = self._latents(rows), self._latents(rows) * 0 - 10
        mask = torch.zeros(rows, 1, *latents.shape[2:])
        mask[..., latents.shape[2] // 4 :, latents.shape[3] // 4 :] = 1
        numbers = torch.arange(rows) % max(2, objective.least_photos)
        prior = PriorBatch(latents, flat, (plain,) * rows) if objective.needs_class_images else None
        scenes = (
            SceneBatch(latents, flat, mask, self._features(rows), (plain,) * rows)
            if objective.needs_scene_images
            else None
        )
        return SubjectBatch(
            latents,
            flat,
            mask,
            self._features(rows),
            (subject.spoken(subject.prompt),) * rows,
            (plain,) * rows,
            position,
            prior,
            ShownPhotos(numbers, int(numbers.max()) + 1),
            scenes,
        )

    def _latents(self, rows: int) -> Tensor:
        return torch.randn(rows, *largest_latents(self.data), generator=self.generator)

    def _features(self, rows: int) -> PhotoFeatures:
        width = self.module.conditioning.image_width or self.module.backbone.features.width
        made = torch.randn(2, rows, width, generator=self.generator)
        return PhotoFeatures(*made)
