"""A comparison over regimes: a table for each, and what is corrected over all of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from idgen.benchmark.bootstrap import Difference
from idgen.benchmark.holm import holm
from idgen.benchmark.results import CellResult
from idgen.benchmark.summary import MethodSummary, Summary, summarise


@dataclass(frozen=True)
class Comparison:
    """All numbers of a report.

    Attributes:
        summaries: A table for each regime, in the order of the cells; plain photos are one too.
    """

    summaries: tuple[Summary, ...]

    @property
    def results(self) -> list[CellResult]:
        """Every cell."""
        return [result for summary in self.summaries for result in summary.results]

    @property
    def failed(self) -> list[CellResult]:
        """Cells that failed."""
        return [result for summary in self.summaries for result in summary.failed]

    @property
    def missing(self) -> list[CellResult]:
        """Cells that are still to be run."""
        return [result for summary in self.summaries for result in summary.missing]

    @property
    def protocol(self) -> dict[str, Any]:
        """What all finished cells share."""
        return self.summaries[0].protocol

    @property
    def scores(self) -> list[str]:
        """Every score that a regime has, in the order of the columns."""
        return list(dict.fromkeys(score for summary in self.summaries for score in summary.scores))


def compare(
    results: Sequence[CellResult],
    methods: Sequence[str],
    reference: str,
    protocol: dict[str, Any],
    resamples: int = 10_000,
) -> Comparison:
    """Turns cells into a table for each regime; takes what `summarise` does.

    The p-values of one score's differences to the reference are corrected together, over all
    methods and all regimes.
    """
    regimes = dict.fromkeys(result.regime for result in results)
    summaries = [
        summarise(
            [r for r in results if r.regime == regime], methods, reference, protocol, resamples
        )
        for regime in regimes
    ]
    return Comparison(corrected(summaries))


def corrected(summaries: Sequence[Summary]) -> tuple[Summary, ...]:
    """The same with Holm's p-values beside the raw ones, score by score over all of them."""
    families: dict[str, list[Difference]] = {}
    for summary in summaries:
        for method in summary.methods:
            for score, difference in method.differences.items():
                if difference is not None and difference.p is not None:
                    families.setdefault(score, []).append(difference)
    adjusted = {
        (score, id(difference)): value
        for score, family in families.items()
        for difference, value in zip(family, holm([d.p or 0.0 for d in family]), strict=True)
    }

    def corrected_method(method: MethodSummary) -> MethodSummary:
        differences = {
            score: d and replace(d, adjusted_p=adjusted.get((score, id(d))))
            for score, d in method.differences.items()
        }
        return replace(method, differences=differences)

    return tuple(replace(s, methods=tuple(map(corrected_method, s.methods))) for s in summaries)
