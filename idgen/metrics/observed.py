"""Pictures, and what the scores look at in them: each embedding made once, when first asked for."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from idgen.errors import UserError
from idgen.metrics.encoders import ClipScorer, DinoScorer
from idgen.metrics.masked import subject_square
from idgen.prepare.inpainter import Inpaint
from idgen.prepare.photos import Photo
from idgen.prepare.segmenter import Mask, Segment
from idgen.sampling import DrawingRequest

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class DrawnPicture(Photo):
    """A drawing as segmenters take pictures: in memory, and without prompts of the user.

    Attributes:
        image: `H W 3` uint8.
    """

    image: Picture

    @classmethod
    def of(cls, image: Picture) -> "DrawnPicture":
        """Names it by its content."""
        digest = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()
        return cls(Path(digest) / "drawing.png", digest, image)

    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.shape[0], self.image.shape[1]

    def pixels(self) -> Picture:
        """The picture, `H W 3` uint8, sRGB."""
        return self.image


@dataclass(frozen=True)
class Observer:
    """What pictures are looked at with, loaded.

    Attributes:
        clip: The scoring CLIP.
        dino: The scoring DINO.
        segment: Finds the subject in a drawing; None where nothing can.
        inpaint: Takes it away; None where nothing can.
    """

    clip: ClipScorer
    dino: DinoScorer
    segment: Segment | None = None
    inpaint: Inpaint | None = None

    def mask(self, image: Picture) -> Mask | None:
        """The subject's mask in a drawing `H W 3`; None if none is found, or all of it is."""
        if self.segment is None:
            return None
        mask = self.segment(DrawnPicture.of(image))
        return mask if mask.any() and not mask.all() else None

    def background(self, image: Picture, mask: Mask) -> Picture | None:
        """A drawing without its subject; None if nothing is left to fill its place from."""
        if self.inpaint is None:
            return None
        try:
            return self.inpaint(image, mask)
        except UserError:
            return None


@dataclass(frozen=True)
class Found:
    """Embeddings of those pictures of a batch of which there is something to embed.

    Attributes:
        rows: Their places in the batch, F of them.
        embeddings: `F E`.
        count: B, pictures in the batch.
    """

    rows: list[int]
    embeddings: Tensor
    count: int

    def spread(self, scores: Tensor) -> list[float | None]:
        """Scores of those pictures, `F`, as one a picture of the batch, None for the others."""
        spread: list[float | None] = [None] * self.count
        for row, score in zip(self.rows, scores.tolist(), strict=True):
            spread[row] = score
        return spread


@dataclass
class Observed:
    """A batch of pictures, seen by an observer.

    Attributes:
        images: B pictures `3 H W` uint8, or one tensor `B 3 H W`.
        observer: Looks at them.
        requests: What was asked for, one a drawing; none for photos.
        masks: The subject's mask in each, where that is known already, as it is of photos.
        backgrounds: Each without its subject, likewise.
    """

    images: Sequence[Tensor] | Tensor
    observer: Observer = field(repr=False)
    requests: Sequence[DrawingRequest] = ()
    masks: Sequence[Mask | None] | None = None
    backgrounds: Sequence[Picture | None] | None = None

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def dino(self) -> Tensor:
        """DINO embeddings of the whole pictures, `B E`."""
        return self.observer.dino.embed_images(self.images)

    @cached_property
    def clip(self) -> Tensor:
        """CLIP embeddings of the whole pictures, `B E`."""
        return self.observer.clip.embed_images(self.images)

    @cached_property
    def prompts(self) -> Tensor:
        """CLIP embeddings of the drawings' prompts without the subject's token, `B E`."""
        return self.observer.clip.embed_texts([r.plain_prompt for r in self.requests])

    @cached_property
    def subject_dino(self) -> Found:
        """DINO embeddings of the subjects alone, where one is found."""
        return self._found(self._subjects, self.observer.dino.embed_images)

    @cached_property
    def subject_clip(self) -> Found:
        """CLIP embeddings of the subjects alone, where one is found."""
        return self._found(self._subjects, self.observer.clip.embed_images)

    @cached_property
    def background_clip(self) -> Found:
        """CLIP embeddings of the pictures without their subjects, where one is found."""
        return self._found(self._without_subjects, self.observer.clip.embed_images)

    @cached_property
    def _pictures(self) -> list[Picture]:
        return [image.permute(1, 2, 0).cpu().contiguous().numpy() for image in self.images]

    @cached_property
    def found_masks(self) -> list[Mask | None]:
        """Each picture's mask, `H W`; None where no subject is found."""
        if self.masks is not None:
            return list(self.masks)
        return [self.observer.mask(picture) for picture in self._pictures]

    @cached_property
    def _subjects(self) -> list[Tensor | None]:
        both = zip(self._pictures, self.found_masks, strict=True)
        return [None if mask is None else subject_square(image, mask) for image, mask in both]

    @cached_property
    def _without_subjects(self) -> list[Tensor | None]:
        backgrounds = self.backgrounds
        if backgrounds is None:
            both = zip(self._pictures, self.found_masks, strict=True)
            backgrounds = [m if m is None else self.observer.background(p, m) for p, m in both]
        return [None if b is None else torch.from_numpy(b).permute(2, 0, 1) for b in backgrounds]

    def _found(
        self, pictures: Sequence[Tensor | None], embed: Callable[[Sequence[Tensor]], Tensor]
    ) -> Found:
        rows = [row for row, picture in enumerate(pictures) if picture is not None]
        there = [picture for picture in pictures if picture is not None]
        return Found(rows, embed(there), len(pictures))
