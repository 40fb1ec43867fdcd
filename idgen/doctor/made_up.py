"""Batches of a run's shapes, of noise: they take as long, and as much, as real ones."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor
from torch.utils.data import IterableDataset

from idgen.data.batch import PriorBatch, SceneBatch, ShownPhotos, SubjectBatch
from idgen.data.prompts import without_token
from idgen.models.decoupling import PhotoFeatures
from idgen.module import PersonalizationModule


@dataclass
class MadeUpBatches(IterableDataset[SubjectBatch]):
    """An endless stream of them.

    Attributes:
        module: Light or loaded.
        rows: Of a batch.
        spoken: The prompt of all rows, as the backbone reads it.
        prompt: The same with `[V]`.
        latent_shape: C h w; None for the backbone's own.
    """

    module: PersonalizationModule
    rows: int
    spoken: str
    prompt: str
    latent_shape: tuple[int, int, int] | None = None
    generator: Generator = field(default_factory=lambda: Generator().manual_seed(0))

    def __iter__(self) -> Iterator[SubjectBatch]:
        position = 0
        while True:
            yield self.batch(position)
            position += 1

    def batch(self, position: int) -> SubjectBatch:
        """One of them.

        Args:
            position: Its place in the stream, from 0.
        """
        rows, objective = self.rows, self.module.objective
        plain = without_token(self.prompt)
        latents, flat = self._latents(), self._latents() * 0 - 10
        mask = torch.zeros(rows, 1, *latents.shape[2:])
        mask[..., latents.shape[2] // 4 :, latents.shape[3] // 4 :] = 1
        photos = max(2, objective.least_photos)
        photos = min(photos, self.module.conditioning.photos or photos)
        prior = PriorBatch(latents, flat, (plain,) * rows) if objective.needs_class_images else None
        scenes = (
            SceneBatch(latents, flat, mask, self._features(), (plain,) * rows)
            if objective.needs_scene_images
            else None
        )
        return SubjectBatch(
            latents,
            flat,
            mask,
            self._features(),
            (self.spoken,) * rows,
            (plain,) * rows,
            position,
            prior,
            ShownPhotos(torch.arange(rows) % photos, photos),
            scenes,
        )

    def _latents(self) -> Tensor:
        shape = self.latent_shape or self.module.backbone.latent_shape
        return torch.randn(self.rows, *shape, generator=self.generator)

    def _features(self) -> PhotoFeatures:
        width = self.module.conditioning.image_width or self.module.backbone.features.width
        made = torch.randn(2, self.rows, width, generator=self.generator)
        return PhotoFeatures(*made)
