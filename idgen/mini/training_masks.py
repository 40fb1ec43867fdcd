"""The masks that a regime gives to training: exact, or spoilt as masks of real photos are."""

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from idgen.mini.regimes import Regime

Mask = NDArray[np.bool_]

_SIDES = ((0, 1), (0, -1), (1, 0), (-1, 0))
_PIXELS = (4, 8)
_LEAST_LEFT = 4
"""Erosion leaves one part in so many of the subject, widening one in so many of the background."""


def training_masks(exact: Sequence[Mask], regime: Regime, seed: str) -> list[Mask]:
    """The masks of a subject's photos as its regime writes them.

    Args:
        exact: The true ones, `H W` each.
        regime: Whose `writes_masks` holds.
        seed: Names the subject; the same one always gives the same masks.

    Returns:
        One a photo, neither empty nor full.

    Raises:
        ValueError: If the regime writes none.
    """
    if not regime.writes_masks:
        raise ValueError(f"masks={regime.masks} are no files")
    if regime.masks == "wrong":
        mistaken = spoilt_photos(len(exact), f"mask/{seed}")
        return [_elsewhere(m) if k in mistaken else m for k, m in enumerate(exact)]
    masks = []
    for k, mask in enumerate(exact):
        rng = random.Random(f"mask/{regime.masks}/{seed}/{k}")
        sides = rng.sample(_SIDES, rng.randint(1, len(_SIDES)))
        reach = {side: rng.randint(*_PIXELS) for side in sides}
        masks.append(_SPOILT[regime.masks](mask, reach))
    return masks


def spoilt_photos(photos: int, seed: str) -> set[int]:
    """Which photos something is wrong with: one of five, drawn by chance, and at least one."""
    return set(random.Random(f"spoilt/{seed}").sample(range(photos), max(1, photos // 5)))


Reach = dict[tuple[int, int], int]
"""Pixels by side."""


def _as_it_is(mask: Mask, reach: Reach) -> Mask:
    return mask


def _widened(mask: Mask, reach: Reach) -> Mask:
    least = (~mask).sum() / _LEAST_LEFT
    while (~(wide := _grown(mask, reach))).sum() < least:
        reach = {side: pixels - 1 for side, pixels in reach.items()}
    return wide


def _eroded(mask: Mask, reach: Reach) -> Mask:
    """Shrunk by growing what is not the subject; by less where too little would be left."""
    return ~_widened(~mask, reach)


_SPOILT = {"exact": _as_it_is, "wide": _widened, "eroded": _eroded}


def _grown(mask: Mask, reach: Reach) -> Mask:
    for (down, right), pixels in reach.items():
        for _ in range(pixels):
            mask = mask | _shifted(mask, down, right)
    return mask


def _shifted(mask: Mask, down: int, right: int) -> Mask:
    """Moved by a pixel; what comes in from outside is empty."""
    padded = np.pad(mask, 1)
    height, width = mask.shape
    return padded[1 - down : 1 - down + height, 1 - right : 1 - right + width]


def _elsewhere(mask: Mask) -> Mask:
    """A patch of the background, as large as the subject at most, around the emptiest corner."""
    height, width = mask.shape
    y, x = np.mgrid[:height, :width]
    corners = [(top, left) for top in (0, height - 1) for left in (0, width - 1)]

    def distance(corner: tuple[int, int]) -> NDArray[np.float64]:
        distances: NDArray[np.float64] = np.hypot(y - corner[0], x - corner[1])
        return distances

    # The corner that the subject is farthest from.
    far = max(corners, key=lambda corner: float(distance(corner)[mask].min()))
    pixels = min(int(mask.sum()), int((~mask).sum()) // 2)
    order = np.argsort(np.where(mask, np.inf, distance(far)), axis=None, kind="stable")
    patch = np.zeros(mask.size, np.bool_)
    patch[order[:pixels]] = True
    return patch.reshape(mask.shape)
