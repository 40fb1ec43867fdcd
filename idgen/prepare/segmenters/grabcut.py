"""Masks by GrabCut (Rother, Kolmogorov, Blake, 2004), started where the set's colours say."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray

from idgen import opencv as cv2
from idgen.errors import UserError
from idgen.fingerprint import fingerprint_fields
from idgen.masks import Mask, Picture, overlap
from idgen.prepare.photos import Photo
from idgen.prepare.segmenters.colour_cues import (
    ColourCues,
    centre_prior,
    find_cues,
    histogram,
    without_bars,
)
from idgen.prepare.segmenters.finding import Find, Finding
from idgen.prepare.segmenters.prompts import PromptedSegmenter, Prompts, placed_prompts
from idgen.prepare.segmenters.seeds import GROUND, MAYBE_GROUND, MAYBE_SUBJECT, SUBJECT, Seeds
from idgen.prepare.segmenters.segmenter import Segment

_VERSION = 1
_COARSE_SIDE = 192
_ITERATIONS = 3
_PIECE = 0.10
_STEADY = 0.79
"""Below it most masks of photographs are wrong; see docs/preparation.md."""


class GrabCutSegmenter(PromptedSegmenter):
    """OpenCV's GrabCut with a prior on the middle and on what the photos share; no weights.

    It tells colours apart, not things: it does well where the subject's colours are not its
    ground's, and takes along what touches the subject in its colours. GrabCut is run on a small
    picture from several first guesses, the best outcome (`score_mask`) is run again at
    `long_side` along its outline, and its edge is carried over to the photo's own size.
    """

    def __init__(self, long_side: int = 512) -> None:
        """Sets the size.

        Args:
            long_side: Pixels, 64 or more; a larger photo is segmented at this size.
        """
        if long_side < 64:
            raise UserError(f"GrabCutSegmenter: long_side must be 64 or more; it is {long_side}")
        self.long_side = long_side

    @property
    def identity(self) -> str:
        """Hash of the settings and of the algorithm's version."""
        return fingerprint_fields(segmenter="grabcut", version=_VERSION, long_side=self.long_side)

    @property
    def is_parallel(self) -> bool:
        """Yes: OpenCV lets other threads run, and each has random numbers of its own."""
        return True

    @contextmanager
    def loaded(self, device: torch.device, photos: Sequence[Photo]) -> Iterator[Segment]:
        """Nothing to load; the first call of what it yields looks at the whole set."""
        with self.finding(device, photos) as find:
            yield lambda photo: find(photo).mask

    @contextmanager
    def finding(self, device: torch.device, photos: Sequence[Photo]) -> Iterator[Find]:
        """The same; a mask is doubtful where other first guesses end elsewhere."""
        # The user's prompts have no say here: one photo's must not change another's mask.
        ordered = sorted(photos, key=lambda photo: photo.digest)
        pictures = cache(lambda: [_coarse(photo) for photo in ordered])
        of_set = cache(lambda: find_cues(pictures()))
        first = Lock()

        def cues() -> Sequence[ColourCues]:
            with first:  # or each thread would look at the whole set
                return of_set()

        def find(photo: Photo) -> Finding:
            digests = [own.digest for own in ordered]
            if photo.digest in digests:
                own = cues()[digests.index(photo.digest)]
            else:
                own = find_cues([*pictures(), _coarse(photo)])[-1]
            prompts = placed_prompts(photo)
            mask, steady = _segment(photo.pixels(), own, prompts, self.long_side)
            if prompts is not None:
                return Finding(mask, "GrabCut, your prompts")
            doubt = f"GrabCut's other first guesses end elsewhere (mean IoU {steady:.2f})"
            return Finding(mask, self.title, (doubt,) if steady < _STEADY else ())

        yield find


def _coarse(photo: Photo) -> Picture:
    picture = photo.pixels()
    return _reduced(picture[without_bars(picture)], _COARSE_SIDE)


def _segment(
    picture: Picture, cues: ColourCues, prompts: Prompts | None, long_side: int
) -> tuple[Mask, float]:
    """The subject's mask, `H W`, empty where no colours stand out; and how steady it is."""
    rows, columns = without_bars(picture)
    inner = picture[rows, columns]
    seeds = Seeds.of(prompts or Prompts(), rows, columns)
    outcomes = _outcomes(cues, seeds)
    mask = np.zeros(picture.shape[:2], dtype=np.bool_)
    if not outcomes:
        return mask, 1.0
    coarse = outcomes[0][1]
    small = _reduced(inner, long_side)
    size = (small.shape[1], small.shape[0])
    guess = cv2.resize(coarse.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) > 0.5
    lab: Picture = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
    fine = _along_outline(lab, guess, seeds)
    mask[rows, columns] = _enlarged(fine, small, inner) if small is not inner else fine
    return mask, steadiness(outcomes)


def steadiness(outcomes: Sequence[tuple[float, Mask]]) -> float:
    """How alike the outcomes of all first guesses are to the best, in [0, 1].

    The mean IoU of the others with it, each weighted by `exp(its score - the best score)`: what
    ends elsewhere counts if it would have been nearly as good.

    Args:
        outcomes: Scores (`score_mask`) and masks `H W`, the best first.
    """
    (best, mask), *others = outcomes
    if not others:
        return 1.0
    weights = np.exp([score - best for score, _ in others])
    same = [overlap(mask, other) for _, other in others]
    return float(np.dot(weights, same) / weights.sum())


def regrown(picture: Picture, guess: Mask, prompts: Prompts, long_side: int = 512) -> Mask:
    """A mask `H W` that another segmenter guessed, as the user's prompts mend it.

    GrabCut starts from the guess with the points and the box put in; where the guess is empty, from
    the box, or from what is coloured like the points.

    Args:
        picture: `H W 3`.
        guess: `H W`.
        prompts: In pixels of the picture.
        long_side: Pixels; a larger picture is worked on at this size.
    """
    height, width = picture.shape[:2]
    seeds = Seeds.of(prompts, slice(0, height), slice(0, width))
    small = _reduced(picture, long_side)
    size = (small.shape[1], small.shape[0])
    lab: Picture = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
    inner = cv2.resize(guess.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5
    if not guess.any():
        inner = centre_prior(lab.shape[0], lab.shape[1], spread=0.4, middle=seeds.middle) > 0.5
    trimap = np.where(inner, MAYBE_SUBJECT, MAYBE_GROUND).astype(np.uint8)
    outcome = _grabcut(lab, seeds.draw(trimap, lab), _ITERATIONS)
    if outcome is None:
        return guess
    fine = _tidy(outcome, seeds, opening=0.008)
    return _enlarged(fine, small, picture) if small is not picture else fine


def _outcomes(cues: ColourCues, seeds: Seeds) -> list[tuple[float, Mask]]:
    """The small picture's masks from all first guesses, with their scores, the best first."""
    found = []
    for guess in _first_guesses(cues):
        outcome = _grabcut(cues.lab, seeds.draw(guess, cues.lab), _ITERATIONS)
        if outcome is not None:
            for mask in (_tidy(outcome, seeds), _tidy(outcome, seeds, closing=0.12)):
                score = score_mask(mask, cues, seeds.middle)
                if score > -np.inf:
                    found.append((score, mask))
    # Stable: of equal ones the first guess's.
    return sorted(found, key=lambda scored: -scored[0])


def _first_guesses(cues: ColourCues) -> Iterator[NDArray[np.uint8]]:
    """Boxes around the middle, and the two cues cut at Otsu's threshold."""
    height, width = cues.bins.shape
    y = np.abs(np.linspace(-1, 1, height))[:, None]
    x = np.abs(np.linspace(-1, 1, width))[None]
    for reach in (0.9, 0.7):
        inside = (x < reach) & (y < reach)
        yield np.where(inside, MAYBE_SUBJECT, GROUND).astype(np.uint8)
    inside = x * x + y * y < 0.35
    yield np.where(inside, MAYBE_SUBJECT, MAYBE_GROUND).astype(np.uint8)
    for cue in (cues.salient, cues.shared):
        levels = (255 * cue).clip(0, 255).astype(np.uint8)
        threshold, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
        trimap = np.where(levels > threshold, MAYBE_SUBJECT, MAYBE_GROUND).astype(np.uint8)
        yield trimap
        trimap[levels < 0.4 * threshold] = GROUND
        trimap[levels > max(1.5 * threshold, 0.9 * levels.max())] = SUBJECT
        yield trimap


def score_mask(mask: Mask, cues: ColourCues, middle: tuple[float, float] = (0.0, 0.0)) -> float:
    """How much a mask looks like a subject's, up to about 8; minus infinity for none or all.

    ``size * (2 + separation + 3 shared + solidity + centredness / 2 + contrast - 3 border)``, where

    - separation: the part of the colour histograms of subject and ground that does not overlap;
    - shared: mean of `cues.shared` inside less that outside;
    - solidity: the mask's area as a part of its convex hull's;
    - centredness: `exp(-2 d^2)`, d the distance of its centre of mass from `middle`;
    - contrast: how steep the colours are along its outline, beside the picture's steepest;
    - border: the part of the upper three borders that it covers;
    - size: 1 from 5 % to 70 % of the picture, falling in a line to 0 at 0 % and at 95 %.

    Args:
        mask: `H W`.
        cues: Of the picture.
        middle: Where the subject is looked for, x and y in [-1, 1].
    """
    share = float(mask.mean())
    size = min(1.0, share / 0.05) * float(np.clip((0.95 - share) / 0.25, 0, 1))
    if size == 0:
        return -np.inf
    weight = mask.astype(np.float64)
    overlap = np.minimum(histogram(cues.bins, weight), histogram(cues.bins, 1 - weight)).sum()
    shared = cues.shared[mask].mean() - cues.shared[~mask].mean()
    outline, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = cv2.contourArea(cv2.convexHull(np.concatenate(outline)))
    solidity = min(1.0, float(mask.sum()) / max(1.0, hull))
    y, x = np.nonzero(mask)
    height, width = mask.shape
    away_x = 2 * x.mean() / max(1, width - 1) - 1 - middle[0]
    away_y = 2 * y.mean() / max(1, height - 1) - 1 - middle[1]
    centredness = np.exp(-2 * (away_x**2 + away_y**2))
    border = np.concatenate([mask[0], mask[:, 0], mask[:, -1]]).mean()
    rim = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    steep = _steepness(cues.lab)
    contrast = min(1.0, steep[rim > 0].mean() / max(1e-6, float(np.percentile(steep, 95))))
    terms = 1 - overlap + 3 * shared + solidity + centredness / 2 + contrast - 3 * border
    return float(size * (2 + terms))


def _steepness(lab: Picture) -> NDArray[np.float32]:
    values = lab.astype(np.float32)
    squares = cv2.Sobel(values, cv2.CV_32F, 1, 0) ** 2 + cv2.Sobel(values, cv2.CV_32F, 0, 1) ** 2
    return np.asarray(cv2.dilate(np.sqrt(squares.sum(axis=2)), np.ones((3, 3), np.uint8)))


def _grabcut(lab: Picture, trimap: NDArray[np.uint8], iterations: int) -> Mask | None:
    """GrabCut's answer, `H W`; None where the trimap leaves it nothing to tell apart."""
    subject = (trimap == SUBJECT) | (trimap == MAYBE_SUBJECT)
    # It fits five colours to each side, and fails on fewer pixels than that.
    if min(subject.sum(), (~subject).sum()) < 16:
        return None
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    answer = trimap.copy()
    cv2.grabCut(lab, answer, None, *models, iterations, cv2.GC_INIT_WITH_MASK)
    return np.asarray((answer == SUBJECT) | (answer == MAYBE_SUBJECT))


def _along_outline(lab: Picture, guess: Mask, seeds: Seeds) -> Mask:
    """The guess `H W`, with GrabCut run once more on a band along its outline."""
    if not guess.any():
        return guess
    reach = max(2, round(0.04 * float(np.sqrt(guess.sum()))))
    subject = guess.astype(np.uint8)
    core = cv2.erode(subject, _disc(reach), borderValue=1) > 0
    near = cv2.dilate(subject, _disc(2 * reach)) > 0
    trimap = np.where(guess, MAYBE_SUBJECT, MAYBE_GROUND).astype(np.uint8)
    trimap[core], trimap[~near] = SUBJECT, GROUND
    y, x = np.nonzero(near)
    ring = 4 * reach
    window = (
        slice(max(0, y.min() - ring), y.max() + ring + 1),
        slice(max(0, x.min() - ring), x.max() + ring + 1),
    )
    trimap = seeds.draw(trimap, lab)
    outcome = _grabcut(np.ascontiguousarray(lab[window]), trimap[window].copy(), 2)
    if outcome is None or not outcome.any():
        return guess
    fine = np.zeros_like(guess)
    fine[window] = outcome
    fine = _tidy(fine, seeds, opening=0.008)
    return fine if fine.any() else guess


def _tidy(mask: Mask, seeds: Seeds, opening: float = 0.02, closing: float = 0.02) -> Mask:
    """Smooths a mask, fills its holes, and keeps its main piece and others of some size.

    Args:
        mask: `H W`.
        seeds: The user's; pieces under their points stay.
        opening: Thinner parts go, as a fraction of the square root of the mask's area.
        closing: Narrower gaps are filled, likewise.
    """
    side = float(np.sqrt(mask.sum()))
    tidy = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, _disc(round(opening * side)))
    # A margin, or closing would take the picture's border for the subject's.
    gap = max(1, round(closing * side))
    wide = cv2.copyMakeBorder(tidy, gap, gap, gap, gap, cv2.BORDER_CONSTANT, value=0)
    wide = cv2.morphologyEx(wide, cv2.MORPH_CLOSE, _disc(gap))
    tidy = wide[gap:-gap, gap:-gap]
    _, labels, stats, _ = cv2.connectedComponentsWithStats(tidy, connectivity=8)
    if len(stats) < 2:
        return np.asarray(tidy > 0)
    height, width = mask.shape
    prior = centre_prior(height, width, middle=seeds.middle)
    weights = np.bincount(labels.ravel(), prior.ravel(), minlength=len(stats))[1:]
    areas = stats[1:, cv2.CC_STAT_AREA]
    main = int(weights.argmax())
    sizeable = (areas >= _PIECE * areas[main]) & (weights >= _PIECE * weights[main])
    kept = {int(number) for number in np.flatnonzero(sizeable) + 1}
    kept = (kept - seeds.refused(labels)) | seeds.wanted(labels)
    subject = np.isin(labels, sorted(kept)).astype(np.uint8)
    outlines, _ = cv2.findContours(subject, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(subject.copy(), outlines, -1, 1, cv2.FILLED)
    _, holes = cv2.connectedComponents(filled - subject, connectivity=4)
    return np.asarray((filled > 0) & ~np.isin(holes, sorted(seeds.refused(holes))))


def _disc(radius: int) -> Picture:
    side = 2 * max(1, radius) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))


def _reduced(picture: Picture, long_side: int) -> Picture:
    """The picture at that size, or itself if it is no larger."""
    height, width = picture.shape[:2]
    scale = long_side / max(height, width)
    if scale >= 1:
        return picture
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def _enlarged(mask: Mask, small: Picture, full: Picture) -> Mask:
    """A small picture's mask at the full size, its edge laid along the full picture's.

    By a guided filter (He, Sun, Tang, 2010) whose coefficients are computed on the small one.
    """
    window = (9, 9)

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.boxFilter(values, -1, window))

    guide = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    target = mask.astype(np.float32)
    mean_guide, mean_target = mean(guide), mean(target)
    variance = mean(guide * guide) - mean_guide**2
    slope = (mean(guide * target) - mean_guide * mean_target) / (variance + 1e-3)
    offset = mean_target - slope * mean_guide
    size = (full.shape[1], full.shape[0])
    slope, offset = (cv2.resize(mean(part), size) for part in (slope, offset))
    fine_guide = cv2.cvtColor(full, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    return np.asarray(slope * fine_guide + offset > 0.5)
