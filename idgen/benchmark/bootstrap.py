"""Means over subjects and their confidence intervals, by the bootstrap over subjects.

Seeds and prompts of one subject are not independent of each other: a hard subject is hard in all of
them. So a subject counts once, by its mean, and the bootstrap resamples subjects.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from idgen.benchmark.sign_flips import sign_flip_p

Pair = tuple[str, int]
"""A subject's name and a seed."""

LEVEL = 0.95
FEWEST_SUBJECTS = 6
"""With fewer subjects than this, no difference is marked."""

_ROUNDING = 1e-9  # equal scores differ by less than this


@dataclass(frozen=True)
class Interval:
    """A mean over subjects with its confidence interval.

    Attributes:
        mean: The mean.
        low: Lower end; None with a single subject, which says nothing of others.
        high: Upper end; None likewise.
        subjects: How many subjects it is over.
    """

    mean: float
    low: float | None
    high: float | None
    subjects: int

    @property
    def ends(self) -> tuple[float, float] | None:
        """Both ends; None where there is no interval."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def half_width(self) -> float | None:
        """Half the interval's length."""
        return None if self.ends is None else (self.ends[1] - self.ends[0]) / 2


@dataclass(frozen=True)
class Difference:
    """A method's score minus the reference's, over the subjects and seeds that both have.

    Attributes:
        interval: The mean difference and its interval.
        above: In how many subjects the method's score is the higher one.
        p: Two-sided, by `sign_flip_p`; None with fewer subjects than are ever marked.
        adjusted_p: The same after Holm's correction, once it is made.
    """

    interval: Interval
    above: int
    p: float | None = None
    adjusted_p: float | None = None

    @property
    def sign(self) -> int:
        """1 or -1 where the interval lies on one side of 0, else 0.

        Also 0 with fewer than 6 subjects: 5 subjects all agree by chance in 2 of 32 cases, more
        often than a 5 % level allows.
        """
        if self.interval.ends is None or self.interval.subjects < FEWEST_SUBJECTS:
            return 0
        low, high = self.interval.ends
        return int(low > _ROUNDING) - int(high < -_ROUNDING)

    @property
    def holds(self) -> bool:
        """Whether a marked difference is one after Holm's correction too."""
        return self.sign != 0 and self.adjusted_p is not None and self.adjusted_p <= 1 - LEVEL


def subject_means(values: Mapping[Pair, float]) -> dict[str, float]:
    """The mean over seeds of each subject, sorted by name."""
    seeds: dict[str, list[float]] = {}
    for (subject, _), value in values.items():
        seeds.setdefault(subject, []).append(value)
    return {subject: float(np.mean(seeds[subject])) for subject in sorted(seeds)}


def bootstrap_interval(
    values: Mapping[Pair, float], resamples: int = 10_000, seed: int = 0, level: float = LEVEL
) -> Interval:
    """Mean over subjects and its percentile bootstrap interval (Efron 1979).

    Subjects are drawn with replacement, as many as there are; the interval runs from the
    ``(1 - level) / 2`` to the ``(1 + level) / 2`` quantile of the means. With few subjects it is
    somewhat too narrow, as every such interval is.

    Args:
        values: A score by subject and seed, any finite numbers; at least one.
        resamples: How many times they are drawn.
        seed: Of the drawing; the same seed draws the same subjects for every score.
        level: Coverage aimed at, in (0, 1).

    Returns:
        The mean and its interval.

    Raises:
        ValueError: If there is no value, or one is not finite.
    """
    means = np.array(list(subject_means(values).values()))
    if not len(means) or not np.isfinite(means).all():
        raise ValueError("values: at least one, and finite ones, are needed")
    if len(means) == 1:
        return Interval(float(means[0]), None, None, 1)
    # Only how often each subject is drawn matters: that is multinomial, and small in memory.
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(len(means), np.full(len(means), 1 / len(means)), resamples)
    drawn = counts @ means / len(means)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(means.mean()), float(low), float(high), len(means))


def paired_difference(
    values: Mapping[Pair, float],
    reference: Mapping[Pair, float],
    resamples: int = 10_000,
    seed: int = 0,
    level: float = LEVEL,
) -> Difference | None:
    """A method's score minus the reference's, paired over subjects and seeds.

    What makes a subject hard for both cancels out, so the interval is narrower than the intervals
    of the two scores suggest. It takes and raises what `bootstrap_interval` does.

    Returns:
        The difference, None where no pair of subject and seed has both.
    """
    both = {pair: value - reference[pair] for pair, value in values.items() if pair in reference}
    if not both:
        return None
    interval = bootstrap_interval(both, resamples, seed, level)
    means = list(subject_means(both).values())
    above = sum(mean > _ROUNDING for mean in means)
    p = None if len(means) < FEWEST_SUBJECTS else sign_flip_p(means, resamples, seed)
    return Difference(interval, above, p)
