"""What a denoiser is trained on: latents of the drawn pictures, with captions and weights."""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from idgen.mini.world import SIDE
from tools.train_mini.latents import Latents
from tools.train_mini.pictures import (
    TrainingPictures,
    noisy_caption,
    subject_weight,
    training_wordings,
)
from tools.train_mini.share import Share
from tools.train_mini.tokenizer import CONTEXT, read_tokenizer

_NO_CAPTION = 0.1
# Scenes are learnt long before subjects are.
_SUBJECT = 6.0


@dataclass(frozen=True)
class Batch:
    """Pictures of one step.

    Attributes:
        clean: Their latents, `B C 16 16`, of a standard deviation of about 1.
        noise: Standard normal, of the same shape.
        places: Quantiles in [0, 1), one from each of equal shares: losses differ far more between
            times than between pictures. `B`.
        ids: Tokens of a caption of each, `B 32`; a tenth have an empty one.
        mask: True at real tokens, `B 32`.
        weights: Of each latent, of mean 1, `B 1 16 16`; a subject's count several times.
    """

    clean: Tensor
    noise: Tensor
    places: Tensor
    ids: Tensor
    mask: Tensor
    weights: Tensor


class CaptionedLatents:
    """Batches of the drawn pictures, each of which follows from its step's number.

    Args:
        work: Folder of the training run.
        device: Torch device of what is given out.
        batch: Pictures a step.
        count: How many of the pictures to train on.
        share: This process among those that train together.
    """

    def __init__(self, work: Path, device: str, batch: int, count: int, share: Share) -> None:
        self._share, self._device, self._batch = share, device, batch
        self._pictures = TrainingPictures.read(work).first(count)
        self._wordings = training_wordings(len(self._pictures))
        self.latents = Latents(work, self._pictures, device, share)
        self._tokenizer = read_tokenizer(work)

    def _captions(self, rows: NDArray[np.int64], rng: random.Random) -> list[str]:
        return [
            "" if rng.random() < _NO_CAPTION else noisy_caption(self._wordings[row], rng)
            for row in rows
        ]

    def at(self, step: int) -> Batch:
        """The batch of a step."""
        rows = self._share.rows(step, len(self._pictures), self._batch)
        seed = self._share.seed(step)
        generator = torch.Generator().manual_seed(seed)
        clean = self.latents(rows)
        noise = torch.randn(clean.shape, generator=generator).to(self._device)
        places = torch.arange(self._batch) + torch.rand(self._batch, generator=generator)
        told = self._tokenizer(
            self._captions(rows, random.Random(seed)),
            padding="max_length",
            max_length=CONTEXT,
            truncation=True,
            return_tensors="pt",
        )
        where = avg_pool2d(self._pictures.mask(rows), SIDE // clean.shape[-1]).to(self._device)
        return Batch(
            clean=clean,
            noise=noise,
            places=(places / self._batch).to(self._device),
            ids=told.input_ids.to(self._device),
            mask=told.attention_mask.bool().to(self._device),
            weights=subject_weight(where, _SUBJECT),
        )
