"""Letterbox bars and frames around a photo, which are no part of its background."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from idgen.masks import Picture

_THINNEST = 3
_LARGEST = 0.35
_SAME = 10
"""Levels by which the pixels of a bar differ from its colour, at most, JPEG's ringing included."""
_EDGE = 0.6
"""Share of the first line inside that differs from the bar, all along, or it is no edge."""


class Box(NamedTuple):
    """The part of a picture inside its bars, in pixels; `bottom` and `right` are outside."""

    top: int
    bottom: int
    left: int
    right: int


def inside_frame(image: Picture) -> Box:
    """Where a picture begins and ends inside bars of one colour; all of it where there are none.

    A bar is at least 3 pixels thick, of one colour, and ends in a straight edge all along: a sky or
    a sheet of paper, which ends where other things begin, is none.

    Args:
        image: `H W 3`.
    """
    height, width = image.shape[:2]
    top, bottom = _bar(image), _bar(image[::-1])
    rows = image[top : height - bottom]
    across = rows.transpose(1, 0, 2)
    left, right = _bar(across), _bar(across[::-1])
    return Box(top, height - bottom, left, width - right)


def bar_colour(image: Picture, box: Box) -> NDArray[np.uint8]:
    """The colour of the bars around a box, `3`, which there has to be."""
    beside = np.ones(image.shape[:2], dtype=np.bool_)
    beside[box.top : box.bottom, box.left : box.right] = False
    return np.asarray(np.median(image[beside], axis=0).round(), dtype=np.uint8)


def _bar(lines: NDArray[np.uint8]) -> int:
    """How many of the first lines, `L N 3`, are a bar."""
    most = int(_LARGEST * len(lines))
    if len(lines) <= _THINNEST + 1:
        return 0
    colour = np.median(lines[0], axis=0)
    shown = lines[: most + 1].astype(np.int16)
    differs = (np.abs(shown - colour.astype(np.int16)) > _SAME).any(axis=2).mean(axis=1)
    # A subject may reach into the bar; what is of one colour on most of its length is still one.
    inner = np.flatnonzero(differs > 1 - _EDGE)
    if not len(inner):
        return 0
    thickness = int(inner[0])
    ends = differs[thickness : thickness + 3].max() >= _EDGE
    return thickness if thickness >= _THINNEST and ends else 0
