"""Pictures, and what the scores look at in them: each embedding made once, when first asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from idgen.errors import UserError
from idgen.masks import Mask, Picture
from idgen.metrics.encoders import ClipScorer, DinoScorer
from idgen.metrics.masked import subject_square
from idgen.sampling import DrawingRequest


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
    segment: Callable[[Picture], Mask] | None = None
    inpaint: Callable[[Picture, Mask], Picture] | None = None

    def mask(self, image: Picture) -> Mask | None:
        """The subject's mask in a drawing `H W 3`; None if none is found, or all of it is."""
        if self.segment is None:
            return None
        mask = self.segment(image)
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

    @classmethod
    def all(cls, embeddings: Tensor) -> Self:
        """Of a batch in which there is something everywhere, `B E`."""
        return cls(list(range(len(embeddings))), embeddings, len(embeddings))

    def where(self, wanted: Callable[[int], bool]) -> "Found":
        """Those whose place in the batch is wanted."""
        kept = [n for n, row in enumerate(self.rows) if wanted(row)]
        return Found([self.rows[n] for n in kept], self.embeddings[kept], self.count)

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
        there = {row: picture for row, picture in enumerate(pictures) if picture is not None}
        return Found(list(there), embed(list(there.values())), len(pictures))
