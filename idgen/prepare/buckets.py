"""Aspect-ratio buckets: the sizes of views that keep the shape of their photo."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from idgen.errors import UserError

_KEY = "preparation.buckets"
_LARGEST_STEP = 64
_STEPS = 8
"""Steps on a side of a small square view, at least, where its unit allows it."""


class Size(NamedTuple):
    """Of a view, in pixels."""

    height: int
    width: int


@dataclass(frozen=True)
class AspectBuckets:
    """Views keep the shape of their photo, at about the area of a square view.

    A photo goes to the size of the nearest aspect among a few, its bucket, and a batch holds views
    of one size, as kohya's sd-scripts (`enable_bucket`) and SimpleTuner do.

    Attributes:
        max_aspect: The longer side of a view in its shorter ones, at most; of longer photos a part
            is seen, with the whole subject in it.
        step: Sides are multiples of it (kohya's `bucket_reso_steps`); it divides the resolution,
            and is a multiple of the backbone's patch. None for the largest such up to 64 pixels
            and an eighth of the resolution.
    """

    max_aspect: float = 2.0
    step: int | None = None

    def __post_init__(self) -> None:
        """Refuses numbers out of range.

        Raises:
            UserError: If there is one.
        """
        if not 1 <= self.max_aspect < math.inf:
            raise UserError(
                f"{_KEY}.max_aspect: {self.max_aspect} is no number from 1 on; give 2, say"
            )
        if self.step is not None and self.step < 1:
            raise UserError(f"{_KEY}.step: {self.step} is not 1 or more; leave it out, or give 64")

    def sizes(self, resolution: int, unit: int) -> tuple[Size, ...]:
        """The buckets; the square of the resolution is always among them.

        For each side that is a multiple of the step, the other one is that by which the area comes
        nearest to the square's.

        Args:
            resolution: Pixels on a side of a square view, a multiple of the unit.
            unit: Pixels on a side of one of the backbone's patches.

        Raises:
            UserError: If the step does not divide the resolution, or is no multiple of the unit.
        """
        step, area = self._step(resolution, unit), resolution**2
        # A longer side than the second leaves nothing of the other.
        longest = min(resolution * math.sqrt(self.max_aspect) + step, 2 * area // step)
        found = {Size(resolution, resolution)}
        for first in range(step, math.ceil(longest) + 1, step):
            second = round(area / first / step) * step
            found |= {Size(first, second), Size(second, first)}
        return tuple(sorted(s for s in found if max(s) <= self.max_aspect * min(s) and min(s)))

    def _step(self, resolution: int, unit: int) -> int:
        fitting = [n for n in range(unit, resolution + 1, unit) if resolution % n == 0]
        if self.step is None:
            most = min(_LARGEST_STEP, resolution // _STEPS)
            return max([unit, *(n for n in fitting if n <= most)])
        if self.step not in fitting:
            raise UserError(
                f"{_KEY}.step: {self.step} is no multiple of {unit}, the pixels on a side of the "
                f"backbone's patches, that divides the resolution {resolution}; give one of "
                f"{', '.join(map(str, fitting))}"
            )
        return self.step


def closest(sizes: Iterable[Size], height: int, width: int) -> Size:
    """Of some sizes the one whose aspect is nearest to a photo's, as a ratio.

    Args:
        sizes: One or more.
        height: Of the photo.
        width: Of the photo.
    """
    aspect = math.log(width / height)
    return min(sizes, key=lambda s: (abs(math.log(s.width / s.height) - aspect), s))
