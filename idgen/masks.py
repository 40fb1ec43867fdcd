"""Masks of subjects, and what a mask holds of its picture."""

from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Picture: TypeAlias = NDArray[np.uint8]
"""`H W 3`, uint8, sRGB."""

Mask: TypeAlias = NDArray[np.bool_]
"""`H W`, True on the subject."""

_MARGIN = 0.1
_GREY = 127


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
