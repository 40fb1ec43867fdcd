"""Masks of subjects, and what a mask holds of its picture."""

from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from idgen import opencv as cv2

Picture: TypeAlias = NDArray[np.uint8]
"""`H W 3`, uint8, sRGB."""

Mask: TypeAlias = NDArray[np.bool_]
"""`H W`, True on the subject."""

Matte: TypeAlias = NDArray[np.uint8]
"""`H W`, how much of each pixel the subject covers: 0 to 255."""

HALF = 128
"""A matte's pixels are the subject's from here on."""

_MARGIN = 0.1
_GREY = 127


def overlap(one: Mask, other: Mask) -> float:
    """Intersection over union of two masks `H W`; 1 where both are empty."""
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 1.0


def tidy(mask: Mask, smallest: float = 0.01) -> Mask:
    """Removes islands and fills holes of a mask `H W` that are small beside it.

    Args:
        mask: `H W`.
        smallest: What stays, as a part of the mask's area.
    """
    threshold = smallest * float(mask.sum())
    for value in (False, True):
        count, labels, stats, _ = cv2.connectedComponentsWithStats(
            (mask == value).astype(np.uint8), connectivity=8
        )
        areas = stats[:, cv2.CC_STAT_AREA]
        gone = [number for number in range(1, count) if areas[number] < threshold]
        if value and len(gone) == count - 1 and gone:
            gone.remove(1 + int(areas[1:].argmax()))
        mask = np.where(np.isin(labels, gone), not value, mask)
    return np.asarray(mask, dtype=np.bool_)


def reduced_size(height: int, width: int, long_side: int) -> tuple[int, int]:
    """Height and width of a picture whose longer side is that at most."""
    scale = min(1.0, long_side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def cut_out(picture: Picture, mask: Mask) -> Tensor:
    """What a mask holds, on grey, in a square with a margin: what encoders judge it by.

    Args:
        picture: `H W 3`.
        mask: `H W`; an empty one gives a grey square.

    Returns:
        `3 S S`, uint8.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return torch.full((3, 32, 32), _GREY, dtype=torch.uint8)
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    height, width = bottom - top, right - left
    side = max(1, round((1 + 2 * _MARGIN) * max(height, width)))
    square = np.full((side, side, 3), _GREY, dtype=np.uint8)
    down, along = (side - height) // 2, (side - width) // 2
    held = np.where(mask[top:bottom, left:right, None], picture[top:bottom, left:right], _GREY)
    square[down : down + height, along : along + width] = held
    return torch.from_numpy(square).permute(2, 0, 1).contiguous()
