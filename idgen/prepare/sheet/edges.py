"""Whether a mask's outline lies on edges of its photo."""

import numpy as np

from idgen import opencv as cv2
from idgen.masks import Mask, Picture

_LONG_SIDE = 256
_BORDER = 3
_STEEP = 0.6
"""A pixel is on an edge where colours are steeper than on this part of the photo."""


def share_on_edges(photo: Picture, mask: Mask) -> float:
    """The part of a mask's outline that lies on edges of the photo, in [0, 1].

    An edge is where the colours, in CIELAB and smoothed, are steeper than on 60 % of the photo, or
    next to such a place. The photo's border is no outline. A mask that lies somewhere else than
    its subject comes to about a half.

    Args:
        photo: `H W 3`.
        mask: `H W`.

    Returns:
        The share; 1 where there is no outline.
    """
    # Small pictures are enlarged too, or "next to" would be far away there.
    scale = _LONG_SIDE / max(mask.shape)
    height, width = (max(1, round(scale * side)) for side in mask.shape)
    small = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)
    inside = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    lab = np.asarray(cv2.GaussianBlur(lab, (0, 0), 1))
    across, down = cv2.Sobel(lab, cv2.CV_32F, 1, 0), cv2.Sobel(lab, cv2.CV_32F, 0, 1)
    slope = np.sqrt((across**2 + down**2).sum(axis=2))
    around = np.ones((3, 3), np.uint8)
    steep = np.asarray(cv2.dilate(slope, around))
    outline = np.zeros((height, width), dtype=np.bool_)
    inner = (slice(_BORDER, -_BORDER), slice(_BORDER, -_BORDER))
    gradient = cv2.morphologyEx((inside > 0.5).astype(np.uint8), cv2.MORPH_GRADIENT, around)
    outline[inner] = np.asarray(gradient > 0)[inner]
    if not outline.any():
        return 1.0
    return float((steep[outline] > np.quantile(steep, _STEEP)).mean())
