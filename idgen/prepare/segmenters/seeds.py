"""The user's prompts as GrabCut takes them: pixels that are surely subject or surely ground."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from idgen import opencv as cv2
from idgen.prepare.segmenters.prompts import Prompts

GROUND: Final = 0
SUBJECT: Final = 1
MAYBE_GROUND: Final = 2
MAYBE_SUBJECT: Final = 3

_RADIUS = 0.015
_SAME_COLOUR = 20.0


@dataclass(frozen=True)
class Seeds:
    """The user's prompts, as fractions of the picture that is segmented.

    Attributes:
        points: (x, y) on the subject, `N 2`.
        background_points: (x, y) that are not, `M 2`.
        box: (left, top) and (right, bottom) around it, `2 2`; None without one.
    """

    points: NDArray[np.float64]
    background_points: NDArray[np.float64]
    box: NDArray[np.float64] | None

    @classmethod
    def of(cls, prompts: Prompts, rows: slice, columns: slice) -> "Seeds":
        """Prompts in a photo's pixels, for the part of it in those rows and columns."""
        start = np.array([columns.start, rows.start])
        extent = np.array([columns.stop, rows.stop]) - start

        def placed(points: Sequence[Sequence[float]]) -> NDArray[np.float64]:
            places = (np.array(points, dtype=np.float64).reshape(-1, 2) - start) / extent
            return np.asarray(places.clip(0, 1))

        box = None if prompts.box is None else placed([prompts.box[:2], prompts.box[2:]])
        return cls(placed(prompts.points), placed(prompts.background_points), box)

    @property
    def middle(self) -> tuple[float, float]:
        """Where the subject is looked for, x and y in [-1, 1]."""
        if len(self.points):
            x, y = self.points.mean(axis=0)
        elif self.box is not None:
            x, y = self.box.mean(axis=0)
        else:
            x, y = 0.5, 0.5
        return float(2 * x - 1), float(2 * y - 1)

    def draw(self, trimap: NDArray[np.uint8], lab: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Puts in what the user says: outside the box, at the points, and in their colours.

        What is coloured like a background point and unlike every other point starts as ground,
        or few pixels would have to outvote all of their colour.

        Args:
            trimap: `H W` of the four values above, which are OpenCV's.
            lab: The picture, `H W 3`.

        Returns:
            A new trimap.
        """
        drawn = trimap.copy()
        ground, subject = (self._dots(p, lab) for p in (self.background_points, self.points))
        if ground.any():
            alike = _distance(lab, ground)
            like_ground = (alike < _SAME_COLOUR) & (alike < _distance(lab, subject))
            drawn[like_ground & (drawn == MAYBE_SUBJECT)] = MAYBE_GROUND
        if self.box is not None:
            (left, top), (right, bottom) = self._pixels(self.box, *trimap.shape)
            inside = np.zeros(trimap.shape, dtype=np.bool_)
            inside[top : bottom + 1, left : right + 1] = True
            drawn[~inside] = GROUND
        drawn[ground], drawn[subject] = GROUND, SUBJECT
        return drawn

    def wanted(self, labels: NDArray[np.int32]) -> set[int]:
        """The labels, of `H W`, under points of the subject; 0 is none."""
        return _under(labels, self._pixels(self.points, *labels.shape))

    def refused(self, labels: NDArray[np.int32]) -> set[int]:
        """The labels, of `H W`, under background points; 0 is none."""
        return _under(labels, self._pixels(self.background_points, *labels.shape))

    def _dots(self, places: NDArray[np.float64], lab: NDArray[np.uint8]) -> NDArray[np.bool_]:
        height, width = lab.shape[:2]
        dots = np.zeros((height, width), dtype=np.uint8)
        radius = max(1, round(_RADIUS * max(height, width)))
        for x, y in self._pixels(places, height, width):
            cv2.circle(dots, (int(x), int(y)), radius, 1, -1)
        return np.asarray(dots > 0)

    @staticmethod
    def _pixels(places: NDArray[np.float64], height: int, width: int) -> NDArray[np.int64]:
        limit = np.array([width, height]) - 1
        return np.asarray((places * (limit + 1)).astype(np.int64).clip(0, limit))


def _distance(lab: NDArray[np.uint8], dots: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How far each pixel's colour is from the nearest dot's mean colour, `H W`."""
    count, labels = cv2.connectedComponents(dots.astype(np.uint8))
    values = lab.astype(np.float64)
    away = np.full(dots.shape, np.inf)
    for number in range(1, count):
        colour = values[labels == number].mean(axis=0)
        away = np.minimum(away, np.sqrt(((values - colour) ** 2).sum(axis=2)))
    return away


def _under(labels: NDArray[np.int32], places: NDArray[np.int64]) -> set[int]:
    return {int(labels[y, x]) for x, y in places} - {0}
