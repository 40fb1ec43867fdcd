"""The default for the mini backbone, which knows the drawn world alone."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch

from idgen.prepare.photos import Photo
from idgen.prepare.segmenters.finding import Find
from idgen.prepare.segmenters.prompts import PromptedSegmenter
from idgen.prepare.segmenters.sam import SamSegmenter
from idgen.prepare.segmenters.segmenter import Segment, Segmenter

_LARGEST_DRAWN = 256
"""Pixels on the longer side of a drawn picture; no camera makes photos as small."""


class DrawnOrPhotoSegmenter(PromptedSegmenter):
    """The mini segment-anything for drawn pictures, another segmenter for photographs.

    They are told apart by their size. The mini model has seen nothing but the drawn world, and on
    photographs hardly any of its masks are right.
    """

    def __init__(self, photographs: Segmenter) -> None:
        """Names what finds the subject of photographs."""
        self.drawn = SamSegmenter()
        self.photographs = photographs

    @property
    def identity(self) -> str:
        """That of the mini segment-anything; `key` has a photograph's."""
        return self.drawn.identity

    @property
    def title(self) -> str:
        """That of the mini segment-anything."""
        return self.drawn.title

    def _of(self, photo: Photo) -> Segmenter:
        return self.drawn if max(photo.size()) <= _LARGEST_DRAWN else self.photographs

    def key(self, photo: Photo) -> str:
        """The key of the one that is asked."""
        return self._of(photo).key(photo)

    def check_foreign(self, photo: Photo, subject: str) -> None:
        """That of the one that is asked."""
        self._of(photo).check_foreign(photo, subject)

    @contextmanager
    def loaded(self, device: torch.device, photos: Sequence[Photo]) -> Iterator[Segment]:
        """Loads those that are asked."""
        with self.finding(device, photos) as find:
            yield lambda photo: find(photo).mask

    @contextmanager
    def finding(self, device: torch.device, photos: Sequence[Photo]) -> Iterator[Find]:
        """The same, with what is to be said of each mask."""
        with ExitStack() as stack:
            finds: dict[Segmenter, Find] = {}
            for segmenter in (self.drawn, self.photographs):
                own = [photo for photo in photos if self._of(photo) is segmenter]
                if own or (segmenter is self.drawn and not photos):
                    finds[segmenter] = stack.enter_context(segmenter.finding(device, own))
            first = next(iter(finds.values()))
            # A drawing is as small as its backbone makes it, whatever the photos are.
            yield lambda photo: finds.get(self._of(photo), first)(photo)
