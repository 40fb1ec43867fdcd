"""What a model that fills holes gets to see: a square around the hole, at its resolution."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from idgen import opencv as cv2
from idgen.masks import Mask, Picture
from idgen.prepare.views import cut_square

Fill: TypeAlias = Callable[[Picture, Mask], Picture]
"""A square picture `S S 3` and its hole `S S` to the picture filled, `S S 3`."""

CONTEXT = 1.5
"""Side of the square that is seen, in sides of the hole, where the photo is large enough."""


def fill_in_context(image: Picture, hole: Mask, fill: Fill) -> Picture:
    """Fills a hole from the square around it; all else stays as it is.

    Where the square is larger than the photo, the photo is mirrored at its edge.

    Args:
        image: `H W 3`.
        hole: `H W`, not empty and not full.
        fill: Of squares.
    """
    left, top, side = context_square(hole)
    seen = cut_square(image, left, top, side)
    unseen = cut_square(hole.astype(np.uint8), left, top, side) > 0
    filled = fill(seen, unseen)
    result = image.copy()
    y, x = np.nonzero(hole)
    result[y, x] = filled[y - top, x - left]
    return result


def at_resolution(image: Picture, hole: Mask, resolution: int, fill: Fill) -> Picture:
    """Fills a square picture at another size than its own, and resizes what comes out.

    Args:
        image: `S S 3`.
        hole: `S S`.
        resolution: Pixels on a side that `fill` gets.
        fill: Of squares of that size.
    """
    size = (resolution, resolution)
    reduced = resolution < len(image)
    method = cv2.INTER_AREA if reduced else cv2.INTER_LINEAR
    small: Any = cv2.resize(image, size, interpolation=method)
    # Any share of the hole counts, or the subject's colours would be seen.
    share: Any = cv2.resize(hole.astype(np.float32), size, interpolation=method)
    filled = Image.fromarray(fill(small, share > 0))
    resized = filled.resize(image.shape[:2], Image.Resampling.BICUBIC)
    return np.asarray(resized, dtype=np.uint8)


def context_square(hole: Mask) -> tuple[int, int, int]:
    """The square around a hole that an inpainter gets to see.

    As wide as the photo's shorter side, so that there is much to go by, or wider where the hole
    needs it. It is centred on the hole, and moved back where it would leave the photo; along a
    side that it is longer than, it is centred on the photo.

    Args:
        hole: `H W`, not empty.

    Returns:
        Left, top and side in pixels; left and top may be negative.
    """
    height, width = hole.shape
    rows, columns = (np.flatnonzero(hole.any(axis=axis)) for axis in (1, 0))
    longest = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    wanted = max(min(height, width), round(CONTEXT * longest))
    side = int(min(wanted, max(height, width)))

    def start(first: int, last: int, length: int) -> int:
        if side >= length:
            return -((side - length) // 2)
        middle = (first + last + 1 - side) // 2
        return min(max(middle, 0), length - side)

    return (
        start(int(columns[0]), int(columns[-1]), width),
        start(int(rows[0]), int(rows[-1]), height),
        side,
    )
