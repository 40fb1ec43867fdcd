"""Where a photo's colours say the subject is: unlike the border, and shared by the whole set."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from idgen import opencv as cv2
from idgen.masks import Picture

Floats: TypeAlias = NDArray[np.float64]

_BINS = (16, 32, 32)
_DARK = 24
_BORDER = 0.06
_BORDER_COLOURS = 6
_ROUNDS = 4


@dataclass(frozen=True)
class ColourCues:
    """One photo, and where in it the subject may be.

    Attributes:
        lab: The photo, `H W 3`, 8 bit CIELAB as OpenCV codes it.
        bins: The bin of each pixel's colour, `H W`.
        salient: How unlike the picture's border a pixel is, near the middle; `H W` in [0, 1].
        shared: How much more a pixel's colour is the set's subject's than its own ground's;
            `H W` in [0, 1].
    """

    lab: Picture
    bins: NDArray[np.int64]
    salient: Floats
    shared: Floats


def find_cues(pictures: Sequence[Picture]) -> list[ColourCues]:
    """Compares the colours of a set of photos of one subject.

    Each photo has a histogram of its subject and one of its ground, first after `salient`. What
    the subjects' histograms have in common (the square of the mean of their square roots, which
    falls where one photo lacks a colour) and the photo's own are set against its ground; that
    gives `shared`, from which the histograms are taken anew, a few times over.

    Args:
        pictures: `H W 3` sRGB each. Their order decides nothing but the last bits.

    Returns:
        One a picture, in the same order.
    """
    labs = [np.asarray(cv2.cvtColor(p, cv2.COLOR_RGB2LAB), dtype=np.uint8) for p in pictures]
    bins = [_colour_bins(lab) for lab in labs]
    salient = [_salience(lab) for lab in labs]
    shared = salient
    for _ in range(_ROUNDS):
        own = [histogram(b, weight) for b, weight in zip(bins, shared, strict=True)]
        common = np.mean([np.sqrt(h) for h in own], axis=0) ** 2
        common = common / common.sum()
        shared = [
            _likelihood(b, (common + h) / 2, weight)
            for b, h, weight in zip(bins, own, shared, strict=True)
        ]
    return [ColourCues(*parts) for parts in zip(labs, bins, salient, shared, strict=True)]


def _likelihood(bins: NDArray[np.int64], subject: Floats, weight: Floats) -> Floats:
    """How likely each pixel is the subject's, `H W`, by its histogram and the weights before."""
    height, width = bins.shape
    ground = histogram(bins, (1 - weight) * (1.2 - centre_prior(height, width)))
    centre = centre_prior(height, width, spread=0.8)
    of_subject = subject[bins] * centre
    of_ground = ground[bins] * (1 - 0.6 * centre) + 1e-7
    return np.asarray(cv2.GaussianBlur(of_subject / (of_subject + of_ground), (0, 0), 1.5))


def histogram(bins: NDArray[np.int64], weight: Floats) -> Floats:
    """A smoothed histogram of colours that adds up to 1.

    Args:
        bins: The bin of each pixel, `H W`.
        weight: How much each pixel counts, `H W`.
    """
    counts = np.bincount(bins.ravel(), weight.ravel(), minlength=int(np.prod(_BINS)))
    smooth = counts.reshape(_BINS)
    for axis in range(3):
        ahead = np.take(smooth, np.r_[0, : smooth.shape[axis] - 1], axis)
        behind = np.take(smooth, np.r_[1 : smooth.shape[axis], smooth.shape[axis] - 1], axis)
        smooth = (ahead + 2 * smooth + behind) / 4
    total = float(smooth.sum())
    return np.asarray(smooth.ravel() / max(total, 1e-9))


def centre_prior(
    height: int, width: int, spread: float = 0.66, middle: tuple[float, float] = (0.0, 0.0)
) -> Floats:
    """A bell, `H W`, that is 1 at a place of the picture.

    Args:
        height: Of the picture.
        width: Of the picture.
        spread: Standard deviation; half the picture's height or width is 1.
        middle: Its place, x and y in [-1, 1].
    """
    y = np.linspace(-1, 1, height)[:, None] - middle[1]
    x = np.linspace(-1, 1, width)[None] - middle[0]
    return np.asarray(np.exp(-(x * x + y * y) / (2 * spread**2)))


def without_bars(picture: Picture) -> tuple[slice, slice]:
    """Rows and columns of a picture, `H W 3`, inside black bars that make it square.

    A photo that is dark towards its border has no bars: theirs ends from one row to the next.
    """
    # Channel by channel, for `max` along the last axis takes 20 times as long.
    red, green, blue = (picture[..., channel] > _DARK for channel in range(3))
    bright = red | green | blue
    return _inside(bright), _inside(bright.T)


def _inside(bright: NDArray[np.bool_]) -> slice:
    lit = np.flatnonzero(bright.mean(axis=1) >= 0.01)
    count = len(bright)
    if len(lit) < count // 4:
        return slice(0, count)
    first, last = int(lit[0]), int(lit[-1])
    # A little more than the bar, which compression has blended into the photo.
    margin = 1 + count // 256
    start = first + margin if first and bright[first + margin].mean() > 0.5 else 0
    stop = count - 1 - last
    stop = last + 1 - margin if stop and bright[last - margin].mean() > 0.5 else count
    return slice(start, stop)


def _colour_bins(lab: Picture) -> NDArray[np.int64]:
    index = lab.astype(np.int64) // np.array([256 // count for count in _BINS])
    return np.asarray((index[..., 0] * _BINS[1] + index[..., 1]) * _BINS[2] + index[..., 2])


def _salience(lab: Picture) -> Floats:
    """Distance of each pixel's colour from those of the upper three borders, times a bell."""
    height, width = lab.shape[:2]
    y, x = np.ogrid[:height, :width]
    # The lower border is left out: subjects stand on it.
    distance = np.minimum(np.minimum(x, width - 1 - x), y)
    band = lab[distance < max(1.0, _BORDER * min(height, width))].astype(np.float32)
    cv2.setRNGSeed(0)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 1.0)
    kinds = min(_BORDER_COLOURS, len(band))
    _, labels, centres = cv2.kmeans(band, kinds, None, stop, 1, cv2.KMEANS_PP_CENTERS)
    shares = np.bincount(labels.ravel(), minlength=kinds) / len(band)
    unlike = np.full((height, width), np.inf)
    scale = np.array([0.7, 1.4, 1.4])
    for share, centre in zip(shares, centres, strict=True):
        if share >= 0.04:
            away = np.sqrt((((lab - centre) * scale) ** 2).sum(axis=2))
            unlike = np.minimum(unlike, away + 6 * (1 - share))
    unlike = cv2.GaussianBlur(unlike, (0, 0), 2) * centre_prior(height, width)
    return np.asarray((unlike / max(float(np.percentile(unlike, 99)), 1e-9)).clip(0, 1))
