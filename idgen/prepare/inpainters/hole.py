"""What is painted out around a mask: its margin, the subject's remains and its shadow."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from idgen import opencv as cv2
from idgen.errors import UserError
from idgen.fingerprint import fingerprint_fields
from idgen.masks import Mask, Picture, reduced_size
from idgen.prepare.inpainters.frame import Box, bar_colour, inside_frame
from idgen.prepare.inpainters.inpainter import dilate

FillHole: TypeAlias = Callable[[Picture, Mask], Picture]
"""A picture `H W 3` and its hole `H W`, not empty, to the picture filled."""

_LONG_SIDE = 256
_COLOURS = 5
_SHADE = (0.3, 0.9)
"""Brightness of a shadow, in that of the ground it falls on."""
_SAME_HUE = 9.0
_STANDS_OUT = 18.0
_SPECK = 9


@dataclass(frozen=True)
class Hole:
    """How a mask becomes the hole that an inpainter fills.

    Attributes:
        dilation: How far the mask is widened, as a fraction of the square root of its area, so
            that no rim of the subject is left to leak into f'_i.
        grow: How much further it may grow, in the same measure, over what looks like the subject
            or like its shadow and touches the hole; 0 for not at all.
        frames: Whether bars of one colour around the photo are kept out: nothing is filled from
            them, and what the subject covers of them gets their colour.
    """

    dilation: float = 0.06
    grow: float = 0.0
    frames: bool = False

    def __post_init__(self) -> None:
        """Refuses negative sizes.

        Raises:
            UserError: If one is below 0.
        """
        if self.dilation < 0 or self.grow < 0:
            raise UserError(
                f"dilation and grow must be 0 or more; they are {self.dilation:g} and {self.grow:g}"
            )

    @property
    def identity(self) -> str:
        """Hash of the settings."""
        return fingerprint_fields(hole=1, **asdict(self))

    def filled(self, image: Picture, mask: Mask, fill: FillHole) -> Picture:
        """The picture with its subject painted out.

        Args:
            image: `H W 3`.
            mask: `H W`.
            fill: Fills a hole.
        """
        hole = dilate(mask, self.dilation)
        height, width = mask.shape
        box = inside_frame(image) if self.frames else Box(0, height, 0, width)
        inner = np.s_[box.top : box.bottom, box.left : box.right]
        result = image.copy()
        if box != (0, height, 0, width):
            # The margin alone may reach into a bar, and a bar's own colour hurts nothing.
            result[hole] = bar_colour(image, box)
        inside, seen = hole[inner], image[inner]
        if self.grow and inside.any() and not inside.all():
            inside = grown(seen, mask[inner], inside, self.grow)
        if inside.any():
            result[inner] = fill(np.ascontiguousarray(seen), inside)
        return result


def grown(image: Picture, mask: Mask, hole: Mask, reach: float) -> Mask:
    """A hole and what around it still shows the subject or its shadow.

    What the ground would look like is guessed by carrying the surroundings inwards. A pixel
    near the hole is a shadow's if it is darker than that guess and of the same hue, by more than
    the ground itself varies; it is the subject's if it is more like one of the subject's colours
    than like the guess. Only what touches the hole counts. Where it goes on beyond what was
    looked at, twice as far is looked, until it ends or the whole reach is looked at.

    Args:
        image: `H W 3`.
        mask: `H W`, what is known to be the subject.
        hole: `H W`, what is painted out in any case.
        reach: How far it may grow, in square roots of the hole's area.

    Returns:
        `H W`; the hole itself where nothing is left.
    """
    height, width = reduced_size(hole.shape[0], hole.shape[1], _LONG_SIDE)
    small: Any = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    of_hole = _reduced(hole, width, height) > 0
    of_subject = _reduced(mask, width, height) > 0.99
    found = np.zeros_like(of_hole)
    for share in (0.25, 0.5, 1.0):
        ring = dilate(of_hole, share * reach)
        if ring.all():
            break
        found = _remains(small, of_subject, of_hole, ring)
        edge = ring & ~_eroded(ring)
        if not (found & edge).any():
            break
    if not found.any():
        return hole
    wide = cv2.dilate(found.astype(np.uint8), np.ones((3, 3), np.uint8))
    back = cv2.resize(wide, hole.shape[::-1], interpolation=cv2.INTER_NEAREST)
    return np.asarray(hole | (back > 0), dtype=np.bool_)


def _remains(image: Picture, subject: Mask, hole: Mask, ring: Mask) -> Mask:
    """What in the ring is the subject's or its shadow's, and touches the hole."""
    ground = cv2.inpaint(image, ring.astype(np.uint8), 3, cv2.INPAINT_NS)
    seen, guess = _lab(image), _lab(ground)
    distance = np.linalg.norm(seen - guess, axis=2)
    # How much the ground differs from its own surroundings where no subject is near.
    plain = np.linalg.norm(seen - cv2.blur(seen, (9, 9)), axis=2)[~ring]
    unrest = float(np.percentile(plain, 90))
    shade = np.maximum(seen[..., 0], 1) / np.maximum(guess[..., 0], 1)
    hue = np.linalg.norm(seen[..., 1:] - guess[..., 1:], axis=2)
    stands_out = distance > max(_STANDS_OUT / 2, 2 * unrest)
    shadow = (shade > _SHADE[0]) & (shade < _SHADE[1]) & (hue < _SAME_HUE) & stands_out
    found = shadow
    if subject.sum() > _COLOURS:
        nearest = _distance_to(seen, _colours(seen[subject]))
        found = found | ((nearest < distance / 3) & (distance > max(_STANDS_OUT, 3 * unrest)))
    found = _opened(found & ring & ~hole)
    return _touching(found, hole)


def _touching(found: Mask, hole: Mask) -> Mask:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(found.astype(np.uint8), connectivity=8)
    near = cv2.dilate(hole.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    touching = set(np.unique(labels[near])) - {0}
    kept = [n for n in touching if stats[n, cv2.CC_STAT_AREA] >= _SPECK]
    return np.asarray(np.isin(labels, kept), dtype=np.bool_)


def _colours(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """The subject's colours, a few, `K 3`."""
    some = pixels[:: max(1, len(pixels) // 2000)]
    criteria = (cv2.TERM_CRITERIA_MAX_ITER, 10, 0.0)
    cv2.setRNGSeed(0)
    found: Any = cv2.kmeans(
        some, min(_COLOURS, len(some)), np.empty(0), criteria, 1, cv2.KMEANS_PP_CENTERS
    )
    return np.asarray(found[2], dtype=np.float32)


def _distance_to(seen: NDArray[np.float32], colours: NDArray[np.float32]) -> NDArray[np.float32]:
    each = [np.linalg.norm(seen - colour, axis=2) for colour in colours]
    return np.asarray(np.min(each, axis=0), dtype=np.float32)


def _lab(image: Picture) -> NDArray[np.float32]:
    smooth: Any = cv2.GaussianBlur(image.astype(np.float32) / 255, (0, 0), 0.7)
    return np.asarray(cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB))


def _reduced(mask: Mask, width: int, height: int) -> NDArray[np.float32]:
    values = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(values)


def _opened(mask: Mask) -> Mask:
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return np.asarray(opened > 0, dtype=np.bool_)


def _eroded(mask: Mask) -> Mask:
    return np.asarray(cv2.erode(mask.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0)
