"""A subject, cut out by its mask, put into a background."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from idgen import opencv as cv2
from idgen.masks import Mask, Picture
from idgen.prepare.views import Extent, crop_box, cut_square, subject_extent


class Cut(NamedTuple):
    """A subject, cut out of its photo.

    Attributes:
        picture: The square of its photo's plain view, `S S 3`, uint8.
        shape: Its mask there, `S S`, 0 or 1.
    """

    picture: Picture
    shape: NDArray[np.uint8]

    @classmethod
    def of(cls, photo: Picture, mask: Mask) -> "Cut":
        """Cuts it out.

        Args:
            photo: `H W 3`.
            mask: Its subject, `H W`, not empty.
        """
        left, top, across = crop_box(mask)
        shape = cut_square(mask.astype(np.uint8), left, top, across, beyond="constant")
        return cls(cut_square(photo, left, top, across), shape)

    def mirrored(self) -> "Cut":
        """The same, left and right exchanged."""
        return Cut(self.picture[:, ::-1], self.shape[:, ::-1])

    @property
    def extent(self) -> Extent:
        """Where it begins and ends, but for specks."""
        return subject_extent(self.shape > 0)


class Pasted(NamedTuple):
    """A subject in a background.

    Attributes:
        picture: `R R 3`, uint8.
        alpha: How much of each place is the subject's, `R R` in [0, 1].
    """

    picture: Picture
    alpha: NDArray[np.float32]


def put(
    cut: Cut, background: Picture, size: float, middle: tuple[float, float], edge: float
) -> Pasted:
    """Puts a subject into a background, at a size and a place.

    The edge fades inwards from the mask's, so that nothing beside the subject comes along.

    Args:
        cut: The subject.
        background: `R R 3`.
        size: In pixels of the background for one of the cut's.
        middle: Row and column of the subject's middle, in pixels of the background.
        edge: Width of the fading edge, as a share of the side; 0 for a hard one.
    """
    side, (row, column) = len(background), middle
    (first, last), (begin, end) = cut.extent
    move = np.array(
        [[size, 0, column - size * (begin + end) / 2], [0, size, row - size * (first + last) / 2]]
    )
    alpha, colours = _moved(cut.picture, cut.shape, move, side)
    alpha = _faded(alpha, edge * side)
    mixed = alpha[..., None] * colours + (1 - alpha[..., None]) * background
    return Pasted(mixed.round().clip(0, 255).astype(np.uint8), alpha)


def _moved(
    picture: Picture, shape: Picture, move: NDArray[np.float64], side: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The subject's share of each place, and its colours there, unmixed with what is beside it."""
    # Means over the areas of places, by a grid four times as fine: sharp, and no pixel is skipped.
    fine = 4 * move
    # A pixel is numbered by its corner in `move`, by its middle in OpenCV.
    fine[:, 2] += fine[0, 0] / 2 - 0.5
    held = shape.astype(np.float32)
    layers = np.dstack([picture.astype(np.float32) * held[..., None], held])
    warped = cv2.warpAffine(layers, fine, (4 * side, 4 * side), flags=cv2.INTER_NEAREST)
    reduced = np.asarray(cv2.resize(warped, (side, side), interpolation=cv2.INTER_AREA), np.float32)
    share: NDArray[np.float32] = np.clip(reduced[..., 3], 0, 1)
    colours = reduced[..., :3] / np.maximum(share, 1e-6)[..., None]
    return share, colours.astype(np.float32)


def _faded(alpha: NDArray[np.float32], width: float) -> NDArray[np.float32]:
    """The same with an edge that fades inwards over about a width in pixels."""
    if not width:
        return alpha
    # A blurred edge is at one half where the edge was.
    blurred = np.asarray(cv2.GaussianBlur(alpha, (0, 0), width), np.float32)
    faded: NDArray[np.float32] = np.minimum(alpha, np.clip(2 * blurred - 1, 0, 1))
    return faded
