"""What a score is to an evaluation: one number a drawing, and one over all of them.

A score looks at batches of `Observed` drawings, so what several scores look at is made once. Where
it does not exist for a drawing it is None: it does not count, and is neither zero nor NaN.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch

from idgen.evaluation.observed import Found, Observed
from idgen.metrics.similarity import MeanScore
from idgen.sampling import DrawingRequest

Values = list[float | None]
Look = Callable[[Observed, Observed], tuple[Any, ...] | None]
"""Drawings and photos to what a metric compares, the drawings' `Found` first; None for nothing."""


class Score(ABC):
    """A score of drawings; light until `start`.

    Attributes:
        name: In metrics.json, in images.csv, and after `test/` in logs.
        photos: The subject's photos, once started.
    """

    name: str
    photos: Observed

    @property
    def identity(self) -> str:
        """What decides its values, for the protocol; override it where settings or weights do."""
        return f"{type(self).__module__}.{type(self).__qualname__}"

    def check(self) -> None:  # noqa: B027 (most scores need nothing)
        """Finds what the score needs, such as a model's files, before any work starts.

        Raises:
            UserError: If it cannot be had.
        """

    def start(self, photos: Observed, prompts: int, device: torch.device) -> Self:
        """Starts at no drawing, however often it was used before.

        Args:
            photos: The subject's, with what is known of their masks and backgrounds.
            prompts: How many prompts are drawn.
            device: Where its sums are, which processes can add up.

        Returns:
            The score itself.
        """
        self.photos = photos
        return self

    @abstractmethod
    def add(self, drawings: Observed) -> Values:
        """Scores a batch of B drawings, and adds them to what `result` is of; B may be 0."""

    @abstractmethod
    def result(self) -> float | None:
        """The score of all processes' drawings, None if there is none; call it on every process."""

    def completed(self, requests: Sequence[DrawingRequest], values: Values) -> Values:
        """This process's final scores, from what `add` gave; to be called on every process."""
        return values

    def note(self) -> str | None:
        """What the user has to know of the result, if anything; call it on every process."""
        return None

    def release(self) -> None:  # noqa: B027 (as above)
        """Frees what `start` loaded."""


class MetricScore(Score):
    """A score that a metric computes: of each drawing, and the mean."""

    def __init__(self, name: str, metric: MeanScore, look: Look) -> None:
        """Says what of drawings and photos the metric is to compare, and average."""
        self.name = name
        self._metric = metric
        self._look = look

    def start(self, photos: Observed, prompts: int, device: torch.device) -> Self:
        """Starts at no drawing."""
        self._metric.reset()
        self._metric.to(device)
        return super().start(photos, prompts, device)

    def add(self, drawings: Observed) -> Values:
        """Scores a batch of B drawings, and adds it to the mean; B may be 0."""
        compared = self._look(drawings, self.photos)
        if compared is None:
            return [None] * len(drawings)
        found: Found = compared[0]
        self._metric.update(found.embeddings, *compared[1:])
        return found.spread(self._metric.latest)

    def result(self) -> float | None:
        """The mean over the drawings that have the score; to be called on every process."""
        return self._metric.mean()


class DrawingScore(Score):
    """A score of one's own: `each` scores a batch of drawings, the mean is taken here.

    A config adds it to `idgen test` by its class path, under `fidelity.scores`::

        class Brightness(DrawingScore):
            name = "brightness"

            def each(self, drawings: Observed) -> Values:
                return [float(image.float().mean() / 255) for image in drawings.images]
    """

    @abstractmethod
    def each(self, drawings: Observed) -> Values:
        """The score of each of B drawings, None for one that has none; `photos` are there."""

    def start(self, photos: Observed, prompts: int, device: torch.device) -> Self:
        """Starts at no drawing; extend it to load what `each` needs."""
        self._mean = MeanScore().to(device)
        return super().start(photos, prompts, device)

    def add(self, drawings: Observed) -> Values:
        """Scores a batch of B drawings, and adds it to the mean; B may be 0."""
        values = self.each(drawings)
        there = [value for value in values if value is not None]
        self._mean.update(torch.tensor(there, dtype=torch.float64))
        return values

    def result(self) -> float | None:
        """The mean over the drawings that have the score; to be called on every process."""
        return self._mean.mean()
