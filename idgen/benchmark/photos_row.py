"""How the subjects' photos score against each other: the scale for the methods' scores."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from idgen.benchmark.bootstrap import Interval, bootstrap_interval
from idgen.benchmark.results import CellResult
from idgen.pages.scores import photo_values


@dataclass(frozen=True)
class PhotosRow:
    """The photos' row of the table.

    Attributes:
        scored: Subjects whose photos have a score.
        planned: Subjects in all.
        scores: Mean and interval by score; None where no subject has it.
        partial: Scores that lack a subject which a method has.
        subjects: Every score by subject, None for one that does not exist.
    """

    scored: int
    planned: int
    scores: dict[str, Interval | None]
    partial: tuple[str, ...]
    subjects: dict[str, dict[str, float | None]]


def photos_row(
    results: Sequence[CellResult],
    scores: Sequence[str],
    of_methods: Mapping[str, AbstractSet[str]],
    resamples: int = 10_000,
) -> PhotosRow | None:
    """Gathers the row from any cell of each subject: the photos score the same in all of them.

    Args:
        results: Every cell.
        scores: Keys of the table's scores.
        of_methods: By score, the subjects for which a method has it; the row covers no others.
        resamples: Bootstrap samples.

    Returns:
        The row; None if no finished cell scored the photos: earlier versions of idgen did not.
    """
    found: dict[str, dict[str, float | None]] = {}
    for result in results:
        own = photo_values(result.metrics)
        known = found.setdefault(result.subject, {}) if own else {}
        known |= {key: value for key, value in own.items() if known.get(key) is None}
    if not found:
        return None
    intervals: dict[str, Interval | None] = {}
    partial = []
    for score in scores:
        values = {
            (subject, 0): value
            for subject, own in found.items()
            if subject in of_methods[score] and (value := own.get(score)) is not None
        }
        intervals[score] = bootstrap_interval(values, resamples) if values else None
        if values and len(values) < len(of_methods[score]):
            partial.append(score)
    scored = sum(any(value is not None for value in own.values()) for own in found.values())
    planned = len({result.subject for result in results})
    return PhotosRow(scored, planned, intervals, tuple(partial), found)
