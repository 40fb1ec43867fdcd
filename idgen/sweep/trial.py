"""One set of values, and what came of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Literal

from idgen.benchmark.plan import PlannedCell
from idgen.benchmark.results import CellResult
from idgen.pages.scores import find_scores, is_number


@dataclass
class Trial:
    """A trial.

    Attributes:
        number: From 0, in the order in which they were chosen.
        values: By key; overlays by their choice's name.
        status: What became of it.
        scores: Means over subjects, each the mean over its seeds; of all scores that cells have.
        reason: Why it failed.
        same_as: The trial that had the same values before, whose scores it has.
        cells: Its cells, in the order in which they are run.
        results: What the finished ones gave.
    """

    number: int
    values: dict[str, Any]
    status: Literal["running", "done", "failed", "stopped"] = "running"
    scores: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    same_as: int | None = None
    cells: list[PlannedCell] = field(default_factory=list)
    results: list[CellResult] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What progress, tables and folders call it."""
        return f"trial {self.number}"

    def mean(self, score: str) -> float | None:
        """A score's mean over subjects, of what is there; None where nothing is."""
        by_subject: dict[str, list[float]] = {}
        for result in self.results:
            value = result.metrics.get(score)
            if value is not None and is_number(value):
                by_subject.setdefault(f"{result.subject} {result.regime}", []).append(float(value))
        return fmean(map(fmean, by_subject.values())) if by_subject else None

    def finish(self, objectives: Sequence[str]) -> None:
        """Sums the results up, once all cells are there."""
        keys = find_scores([result.metrics for result in self.results])
        means = {key: self.mean(key) for key in keys}
        self.scores = {key: value for key, value in means.items() if value is not None}
        missing = [name for name in objectives if name not in self.scores]
        if missing:
            self.status, self.reason = "failed", f"it has no score {missing[0]!r}"
        else:
            self.status = "done"


def front(trials: Sequence[Trial], objectives: Mapping[str, str]) -> list[Trial]:
    """Finished trials that no other is as good as in all objectives and better in one."""
    done = [trial for trial in trials if trial.status == "done" and trial.same_as is None]

    def signed(trial: Trial) -> list[float]:
        return [
            trial.scores[name] if way == "max" else -trial.scores[name]
            for name, way in objectives.items()
        ]

    def surpasses(one: list[float], other: list[float]) -> bool:
        return all(a >= b for a, b in zip(one, other, strict=True)) and one != other

    values = {trial.number: signed(trial) for trial in done}
    kept = [
        trial
        for trial in done
        if not any(surpasses(values[other.number], values[trial.number]) for other in done)
    ]
    return sorted(kept, key=lambda trial: [-value for value in values[trial.number]])


def ranked(trials: Sequence[Trial], objectives: Mapping[str, str]) -> list[Trial]:
    """Finished trials: the front first, in the order of the first objective, then the others."""
    first, way = next(iter(objectives.items()))
    ahead = front(trials, objectives)
    rest = [t for t in trials if t.status == "done" and t.same_as is None and t not in ahead]
    return [*ahead, *sorted(rest, key=lambda t: t.scores[first] * (-1 if way == "max" else 1))]
