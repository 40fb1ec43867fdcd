"""Drawings as segmenters take pictures."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from idgen.masks import Mask, Picture
from idgen.prepare.photos import Photo
from idgen.prepare.segmenters.segmenter import Segment


@dataclass(frozen=True)
class DrawnPicture(Photo):
    """A drawing in the place of a photo: in memory, and without prompts of the user.

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


def of_drawings(segment: Segment) -> Callable[[Picture], Mask]:
    """What finds the subject in photos, as what finds it in drawings `H W 3`.

    Args:
        segment: A loaded segmenter's function.
    """
    return lambda image: segment(DrawnPicture.of(image))
