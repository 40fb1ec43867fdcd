"""Which photos and masks a person should look at."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from idgen import opencv as cv2
from idgen.masks import Mask, Picture
from idgen.prepare.sheet.edges import share_on_edges

REVIEW_VERSION = 4
"""Part of the contact sheet's key: raise it when other warnings are given."""

SMALL, LARGE = 0.02, 0.90
_PIECE = 0.10
"""A separate piece counts from this part of the largest piece's area on."""
_OTHER_SIZE = 4.0
_FEWEST_TO_COMPARE = 3
_FEWEST_EMBEDDINGS = 4
_UNLIKE = 0.2
"""How far below the set's median a photo's mean likeness to the others lies, to be named.

In the mini world: right masks come to 0.15 at most, masks beside the subject to 0.27 at least.
"""
_SAME_BITS = 6
_SAME_COLOUR = 24
_GRID = 8
_PANORAMA = 2.0
_ON_EDGES = 0.7
"""In the mini world: 200 right masks come to 0.71 at least, another picture's to 0.68 mostly."""
_GREY = 6
"""Levels by which a grey photo's colours differ, JPEG's rounding included."""


@dataclass(frozen=True)
class Look:
    """What is kept of a photo and its mask, to compare them with the set's others.

    Attributes:
        share: The mask's part of the picture.
        gradients: Difference hash of the photo: 16 hexadecimal digits, a bit for each of 8 x 8
            places, whether it gets lighter to the right there.
        colour: Its mean colour, three levels from 0 to 255.
        is_grey: Whether it has no other colours than greys.
        on_edges: The part of the mask's outline that lies on edges of the photo; None where an
            earlier version looked.
    """

    share: float
    gradients: str
    colour: tuple[int, int, int]
    is_grey: bool = False
    on_edges: float | None = None


def look_of(photo: Picture, mask: Mask) -> Look:
    """Sums a photo `H W 3` and its mask `H W` up."""
    grey = sum(photo[..., channel].astype(np.float32) for channel in range(3)) / 3
    small = np.asarray(cv2.resize(grey, (_GRID + 1, _GRID), interpolation=cv2.INTER_AREA))
    lighter = small[:, 1:] > small[:, :-1] + 1
    red, green, blue = (round(level) for level in cv2.mean(photo)[:3])
    gradients = np.packbits(lighter).tobytes().hex()
    levels = cv2.resize(photo, (4 * _GRID, 4 * _GRID), interpolation=cv2.INTER_AREA).astype(int)
    is_grey = bool(np.ptp(levels, axis=2).max() <= _GREY)
    on_edges = round(share_on_edges(photo, mask), 3)
    return Look(round(float(mask.mean()), 6), gradients, (red, green, blue), is_grey, on_edges)


def mask_warnings(mask: Mask) -> list[str]:
    """Names what looks wrong with a mask `H W`.

    Returns:
        One short text for each of: under 2 % of the picture, over 90 % of it, several large
        pieces, touching two opposite borders or all four, a picture over twice as long as wide.
        Empty if nothing looks wrong.
    """
    found = []
    share = float(mask.mean())
    if share < SMALL:
        found.append(f"the mask covers only {100 * share:.1f} % of the picture")
    if share > LARGE:
        found.append(f"the mask covers {100 * share:.0f} % of the picture")
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    pieces = int((areas >= _PIECE * areas.max()).sum()) if len(areas) else 0
    if pieces > 1:
        found.append(f"the mask is in {pieces} pieces")
    across = bool(mask[:, 0].any() and mask[:, -1].any())
    down = bool(mask[0].any() and mask[-1].any())
    if across and down:
        found.append("the mask touches all four borders")
    elif across or down:
        which = "the left and the right" if across else "the upper and the lower"
        found.append(f"the mask touches {which} border")
    if max(mask.shape) > _PANORAMA * min(mask.shape):
        seen = 100 * min(mask.shape) / max(mask.shape)
        found.append(f"a panorama: a view shows about {seen:.0f} % of it; crop it to the subject")
    return found


def set_warnings(names: Sequence[str], looks: Sequence[Look], subjects: Tensor) -> list[list[str]]:
    """Names what looks wrong with a photo beside the others of its set.

    Args:
        names: The photos' names.
        looks: Of each photo.
        subjects: `P D`, what the subject adds to each photo's embedding: f_p - f'_i.

    Returns:
        For each photo one short text for each of: its mask's outline lies beside the photo's
        edges, its mask is of quite another size than the others', its subject looks unlike the
        others', it is nearly the same photo as one before, or grey among photos in colour.
    """
    found: list[list[str]] = [[] for _ in names]
    of_colours = (*_copies(names, looks), *_grey(looks))
    for number, text in (
        *_beside_edges(looks),
        *_other_sizes(looks),
        *_unlike(subjects),
        *of_colours,
    ):
        found[number].append(text)
    return found


def _beside_edges(looks: Sequence[Look]) -> list[tuple[int, str]]:
    shares = [1.0 if look.on_edges is None else look.on_edges for look in looks]
    text = "only {:.0f} % of the mask's outline lies on the photo's edges: is it of this photo?"
    return [(n, text.format(100 * share)) for n, share in enumerate(shares) if share < _ON_EDGES]


def _other_sizes(looks: Sequence[Look]) -> list[tuple[int, str]]:
    if len(looks) < _FEWEST_TO_COMPARE:
        return []
    shares = [look.share for look in looks]
    found = []
    for number, share in enumerate(shares):
        usual = float(np.median(shares[:number] + shares[number + 1 :]))
        if not usual / _OTHER_SIZE <= share <= usual * _OTHER_SIZE:
            text = f"the mask covers {100 * share:.1f} %, the others' about {100 * usual:.0f} %"
            found.append((number, text))
    return found


def _unlike(subjects: Tensor) -> list[tuple[int, str]]:
    if len(subjects) < _FEWEST_EMBEDDINGS:
        return []
    directions = normalize(subjects.double(), dim=1)
    likeness = directions @ directions.T
    to_others = (likeness.sum(dim=1) - likeness.diagonal()) / (len(subjects) - 1)
    outlying = to_others < to_others.median() - _UNLIKE
    text = "the subject looks unlike the others'"
    return [(int(number), text) for number in torch.nonzero(outlying).flatten()]


def _grey(looks: Sequence[Look]) -> list[tuple[int, str]]:
    grey = [number for number, look in enumerate(looks) if look.is_grey]
    if 2 * len(grey) >= len(looks):
        return []
    text = "grey among photos in colour: the subject's colours are learnt from it too"
    return [(number, text) for number in grey]


def _copies(names: Sequence[str], looks: Sequence[Look]) -> list[tuple[int, str]]:
    found = []
    for number, look in enumerate(looks):
        for before, other in zip(names, looks[:number], strict=False):
            if _alike(look, other):
                grey = "a grey copy of" if look.is_grey and not other.is_grey else None
                found.append((number, f"{grey or 'nearly the same photo as'} {before!r}"))
                break
    return found


def _alike(one: Look, other: Look) -> bool:
    bits = (int(one.gradients, 16) ^ int(other.gradients, 16)).bit_count()
    colours = max(abs(a - b) for a, b in zip(one.colour, other.colour, strict=True))
    # A grey copy has another mean colour, but no other light and dark.
    differs_in_grey = one.is_grey != other.is_grey
    return bits <= _SAME_BITS and (colours <= _SAME_COLOUR or differs_in_grey)
