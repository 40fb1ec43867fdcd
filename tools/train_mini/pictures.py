"""What the trainings of encoders share: the drawn pictures with the truth about each."""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from idgen.mini.accessories import ACCESSORIES
from idgen.mini.captions import RARE_TOKENS, Wording, write_caption
from idgen.mini.world import SIDE, Factors, sample_factors
from tools.train_mini.needed import made_by

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class TrainingPictures:
    """The pictures that `tools.train_mini.dataset` drew, picture k from ``sample_factors(k)``.

    Attributes:
        pictures: N H W 3, uint8, RGB.
        masks: N H*W/8, uint8: the subject's mask in packed bits.
    """

    pictures: NDArray[np.uint8]
    masks: NDArray[np.uint8]

    @classmethod
    def read(cls, work: Path) -> "TrainingPictures":
        """Open ``work/data`` without reading it into memory.

        Raises:
            UserError: If it was not drawn yet.
        """
        files = [made_by("dataset", work, f"data/{name}.npy") for name in ("pictures", "masks")]
        return cls(*(np.load(file, mmap_mode="r") for file in files))

    def first(self, count: int) -> "TrainingPictures":
        """The first ``count`` of them."""
        return TrainingPictures(self.pictures[:count], self.masks[:count])

    def __len__(self) -> int:
        return len(self.pictures)

    def pixels(self, rows: NDArray[np.int64]) -> Tensor:
        """Some pictures as ``B 3 H W`` float32 in [-1, 1]."""
        return to_pixels(self.pictures[rows])

    def mask(self, rows: NDArray[np.int64]) -> Tensor:
        """The subjects' masks of some pictures, ``B 1 H W`` float32, 0 or 1."""
        bits = np.unpackbits(self.masks[rows], axis=1).reshape(-1, 1, SIDE, SIDE)
        return torch.from_numpy(bits.astype(np.float32))


def to_pixels(pictures: NDArray[np.uint8]) -> Tensor:
    """Turn pictures, ``B H W 3`` uint8, into ``B 3 H W`` float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2) / 127.5 - 1


def subject_weight(mask: Tensor, factor: float) -> Tensor:
    """Weights of mean 1 in which a subject's pixels count ``factor`` times as much as others.

    Args:
        mask: How much of each pixel is the subject, ``B 1 H W`` in [0, 1].
        factor: 1 weighs all alike.
    """
    weight = 1 + (factor - 1) * mask
    return weight / weight.mean(dim=(1, 2, 3), keepdim=True)


def wording_of(factors: Factors) -> Wording:
    """What captions of the picture of ``factors`` may mention."""
    identity = factors.identity
    accessory = factors.attribute if factors.attribute in ACCESSORIES else None
    return Wording(factors.noun, identity.colour_words, identity.texture, accessory, factors.scene)


def training_wordings(count: int) -> list[Wording]:
    """What captions of the first ``count`` training pictures may mention."""
    return [wording_of(sample_factors(k)) for k in range(count)]


def noisy_caption(wording: Wording, rng: random.Random) -> str:
    """Write a caption; one in eight gets a word without meaning before the class.

    So a rare token, or a word that has to be spelt, is harmless to the text encoder.
    """
    caption = write_caption(wording, rng)
    chance = rng.random()
    if chance < 0.10:
        extra = rng.choice(RARE_TOKENS)
    elif chance < 0.125:
        extra = "".join(rng.choices(_LETTERS, k=rng.randint(3, 7)))
    else:
        return caption
    return caption.replace(f" {wording.noun}", f" {extra} {wording.noun}", 1)
