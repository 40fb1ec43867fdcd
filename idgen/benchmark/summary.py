"""A comparison's numbers: each method's scores with intervals, and against the reference."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from idgen.benchmark.bootstrap import (
    Difference,
    Interval,
    Pair,
    bootstrap_interval,
    paired_difference,
)
from idgen.benchmark.photos_row import PhotosRow, photos_row
from idgen.benchmark.results import CellResult
from idgen.errors import UserError
from idgen.mini.regimes import PLAIN_LABEL
from idgen.pages.scores import ScoreName, find_scores, score_values

DIGITS = 3
"""Decimal places that tables show."""


@dataclass(frozen=True)
class MethodSummary:
    """A row of the table.

    Attributes:
        name: The method.
        finished: How many of its cells are finished.
        planned: How many cells it has.
        scores: Mean and interval by score; None where no cell has the score.
        differences: Against the reference, by score; None where there is nothing to pair, and for
            the reference itself.
        partial: Scores that lack a subject or a seed which another method has. Their means do not
            compare with the other method's; only the paired difference does.
    """

    name: str
    finished: int
    planned: int
    scores: dict[str, Interval | None]
    differences: dict[str, Difference | None]
    partial: tuple[str, ...] = ()


@dataclass(frozen=True)
class Summary:
    """A comparison's numbers.

    Attributes:
        reference: The method that the others are compared with.
        scores: Keys of the scores, in the order of the columns.
        methods: One for each method, in the config's order.
        results: Every cell.
        protocol: What all finished cells share.
        photos: How the photos score against each other; None where no cell says.
        regime: How all subjects' photos came about.
    """

    reference: str
    scores: tuple[str, ...]
    methods: tuple[MethodSummary, ...]
    results: tuple[CellResult, ...]
    protocol: dict[str, Any]
    photos: PhotosRow | None = None
    regime: str = PLAIN_LABEL

    @property
    def failed(self) -> list[CellResult]:
        """Cells that failed."""
        return [result for result in self.results if result.status == "failed"]

    @property
    def missing(self) -> list[CellResult]:
        """Cells that are still to be run."""
        return [result for result in self.results if result.status == "missing"]

    def best(self, name: ScoreName) -> list[str]:
        """The methods with the best mean of a score, as tables round it; none if all are equal.

        A partial mean never counts as the best.
        """
        rounded = {
            method.name: name.better * round(interval.mean, DIGITS)
            for method in self.methods
            if (interval := method.scores[name.key]) is not None and name.key not in method.partial
        }
        if not name.better or len(set(rounded.values())) < 2:
            return []
        return [method for method, mean in rounded.items() if mean == max(rounded.values())]


def summarise(
    results: Sequence[CellResult],
    methods: Sequence[str],
    reference: str,
    protocol: dict[str, Any],
    resamples: int = 10_000,
) -> Summary:
    """Turns cells into a table. Failed cells are in no mean; each row says how many it covers.

    Args:
        results: Every cell.
        methods: The methods, in order.
        reference: The method that the others are compared with.
        protocol: What the cells share.
        resamples: Bootstrap samples.

    Raises:
        UserError: If the cells are of two regimes.
    """
    regimes = list(dict.fromkeys(result.regime for result in results))
    if len(regimes) > 1:
        raise UserError(
            f"results of two regimes in one table: {regimes[0]} and {regimes[1]}; compare each in "
            "a table of its own"
        )
    finished = [result for result in results if result.status == "done"]
    scores = find_scores(result.metrics for result in finished)
    values = {
        method: {score: _by_pair(finished, method, score) for score in scores} for method in methods
    }
    whole = {s: {pair for of in values.values() for pair in of[s]} for s in scores}
    rows = []
    for method in methods:
        own, of_reference = values[method], values[reference]
        intervals = {s: bootstrap_interval(own[s], resamples) if own[s] else None for s in scores}
        against = dict[str, Difference | None].fromkeys(scores)
        if method != reference:
            against = {s: paired_difference(own[s], of_reference[s], resamples) for s in scores}
        cells = [result for result in results if result.method == method]
        done = sum(result.status == "done" for result in cells)
        partial = tuple(s for s in scores if own[s] and own[s].keys() != whole[s])
        rows.append(MethodSummary(method, done, len(cells), intervals, against, partial))
    subjects = {s: {subject for subject, _ in whole[s]} for s in scores}
    photos = photos_row(results, scores, subjects, resamples)
    regime = regimes[0] if regimes else PLAIN_LABEL
    return Summary(reference, tuple(scores), tuple(rows), tuple(results), protocol, photos, regime)


def _by_pair(results: Sequence[CellResult], method: str, score: str) -> dict[Pair, float]:
    return {
        (result.subject, result.seed): value
        for result in results
        if result.method == method
        and (value := score_values(result.metrics, [score])[score]) is not None
    }
