"""Whether differences of pairs are more than chance, by flipping their signs (Fisher 1935)."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_MOST_EXACT = 16
"""With more pairs than this, signs are drawn; with as many there are 32,768 ways to flip them."""
_ROUNDING = 1e-9  # equal scores differ by less than this


def sign_flip_p(differences: Sequence[float], draws: int = 10_000, seed: int = 0) -> float:
    r"""Two-sided p-value of the hypothesis that neither of two methods is the better one.

    If so, each pair's difference could as well have had the other sign. The p-value is the share of
    all ways to give signs whose mean is as far from 0 as the one that was found:

    .. math:: p = 2^{-n} \, \#\{ s \in \{-1, 1\}^n : |\sum_i s_i d_i| \ge |\sum_i d_i| \}

    It is exact for any number of pairs, where the bootstrap's p-value of few pairs is many times
    too small. With n pairs it is :math:`2^{1 - n}` at least. With more than 16 pairs ways are drawn
    instead of counted: :math:`(1 + \#) / (1 + \mathrm{draws})`, the found one among them.

    Args:
        differences: One a pair, finite; at least one.
        draws: How many ways are drawn where there are too many to count.
        seed: Of the drawing.

    Returns:
        It, in (0, 1].

    Raises:
        ValueError: If there is no difference, or one is not finite.
    """
    found = np.array(differences, np.float64)
    if not len(found) or not np.isfinite(found).all():
        raise ValueError("differences: at least one, and finite ones, are needed")
    least = abs(found.sum()) - _ROUNDING * len(found)
    if len(found) <= _MOST_EXACT:
        return float((np.abs(_all_signs(len(found)) @ found) >= least).mean())
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), (draws, len(found)))
    return float((1 + (np.abs(signs @ found) >= least).sum()) / (1 + draws))


@lru_cache(maxsize=4)
def _all_signs(pairs: int) -> NDArray[np.float64]:
    """All ways to give signs but for turning every sign around, `2^(pairs - 1) pairs`."""
    numbers = np.arange(2 ** (pairs - 1))[:, None]
    return np.where((numbers >> np.arange(pairs)) & 1, -1.0, 1.0)
