"""Views of a photo: the square pictures that the autoencoder and E_I see."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from idgen.prepare.segmenter import Mask

VERSION = 1
"""Part of every feature's key: raise it when a view's pixels change."""


@dataclass(frozen=True)
class View:
    """One way of looking at a photo.

    Attributes:
        name: Its name in keys and files.
        flip: Whether left and right change places.
    """

    name: str
    flip: bool


def views(flip: bool) -> tuple[View, ...]:
    """The views each photo is seen in.

    Args:
        flip: Whether the mirror image is one of them.
    """
    plain = View("plain", flip=False)
    return (plain, View("flip", flip=True)) if flip else (plain,)


def crop_box(mask: Mask) -> tuple[int, int, int]:
    """The largest square of a picture that keeps most of the subject.

    The square is as wide as the picture's shorter side and slides along the longer one. Of the
    places that hold the most of the mask, the one nearest to the subject's middle is taken.

    Args:
        mask: `H W`, True on the subject; an empty one gives the centre.

    Returns:
        Left, top and side, in pixels.
    """
    height, width = mask.shape
    side = min(height, width)
    along = mask.sum(axis=0 if width > height else 1).astype(np.int64)
    total = np.concatenate([[0], np.cumsum(along)])
    held = total[side:] - total[:-side]
    occupied = np.flatnonzero(along)
    middle = (occupied[0] + occupied[-1] + 1) / 2 if len(occupied) else len(along) / 2
    best = np.flatnonzero(held == held.max())
    start = int(best[np.abs(best + side / 2 - middle).argmin()])
    return (start, 0, side) if width > height else (0, start, side)


def square(image: NDArray[np.uint8], mask: Mask, resolution: int) -> Tensor:
    """Crops a picture to `crop_box(mask)` and resizes it with a Lanczos filter.

    A photo and its background get the same crop from the same mask, and stay in register.

    Args:
        image: `H W 3`, sRGB in [0, 255].
        mask: `H W`, of the photo.
        resolution: Pixels on a side of the result.

    Returns:
        `3 resolution resolution`, float32 in [-1, 1].
    """
    left, top, side = crop_box(mask)
    # Cut first: with resize's own box the filter would look beyond the square.
    cut = Image.fromarray(image).crop((left, top, left + side, top + side))
    resized = cut.resize((resolution, resolution), Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1).float()
    return (pixels / 127.5 - 1).contiguous()
