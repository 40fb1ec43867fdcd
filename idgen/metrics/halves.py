"""Two subjects side by side in a picture: what stands in each half."""

from collections.abc import Callable

import numpy as np

from idgen.masks import Mask, Picture

_LEAST = 0.02
"""Share of its half that a subject covers at least."""
_AGREED = 0.5
"""Share of a half's mask that the mask of the whole picture has at least."""


def half_masks(
    picture: Picture, whole: Mask, segment: Callable[[Picture], Mask | None]
) -> tuple[Mask | None, Mask | None]:
    """The masks of what stands on the left and on the right of a picture's middle.

    Each half is shown to what finds one subject in a picture, between its own mirror images, so
    that the half's middle is the picture's. It finds something in any half; what the mask of the
    whole picture does not hold is no subject.

    Args:
        picture: `H W 3`.
        whole: `H W`, all that stands out in it.
        segment: Finds a subject in a picture `H W 3`.

    Returns:
        `H W` each, False in the other half; None where nothing stands.

    Raises:
        ValueError: If the mask is of another size.
    """
    if whole.shape != picture.shape[:2]:
        raise ValueError(f"whole: a mask of {picture.shape[:2]} is needed, it is {whole.shape}")
    middle = picture.shape[1] // 2
    left = _half(picture, whole, slice(0, middle), segment)
    return left, _half(picture, whole, slice(middle, picture.shape[1]), segment)


def _half(
    picture: Picture, whole: Mask, columns: slice, segment: Callable[[Picture], Mask | None]
) -> Mask | None:
    half = picture[:, columns]
    beside = half.shape[1] // 2
    shown = np.pad(half, ((0, 0), (beside, beside), (0, 0)), mode="symmetric")
    found = segment(np.ascontiguousarray(shown))
    if found is None:
        return None
    mask = np.zeros(whole.shape, np.bool_)
    mask[:, columns] = found[:, beside : beside + half.shape[1]]
    area = int(mask.sum())
    if area < _LEAST * half.shape[0] * half.shape[1] or (mask & whole).sum() < _AGREED * area:
        return None
    return mask
