"""What a segmenter found in a photo, and what it says of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from idgen.masks import Mask, Matte
from idgen.prepare.photos import Photo


@dataclass(frozen=True)
class Finding:
    """A mask, and where it is from.

    Attributes:
        mask: `H W`.
        source: What it was taken from, for the contact sheet, such as `00.mask.png`.
        doubts: What makes it likely to be wrong, one short text each.
        matte: The same with its soft edge, `H W`; None where there is none.
    """

    mask: Mask
    source: str
    doubts: tuple[str, ...] = ()
    matte: Matte | None = None

    @property
    def pixels(self) -> Matte:
        """The matte, or else the mask as one: 0 and 255."""
        return self.mask.astype(np.uint8) * 255 if self.matte is None else self.matte


Find: TypeAlias = Callable[[Photo], Finding]
"""A photo to what was found in it."""
