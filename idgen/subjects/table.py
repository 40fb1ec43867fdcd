"""What runs of several subjects came to: a table for people, and subjects.csv."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

from idgen.benchmark.cell import read_json
from idgen.errors import printable
from idgen.pages.scores import find_scores, score_name
from idgen.subjects.plan import SubjectRun

_SHOWN = ("dino", "clip_i", "clip_t")
_PLACES = ("subject", "class_noun", "status", "reason", "step", "folder")


@dataclass(frozen=True)
class SubjectResult:
    """How a subject's run stands.

    Attributes:
        run: The run.
        status: Whether it is finished, failed, or is still to be run.
        reason: Why it failed.
        scores: Its last ones by name, with `step`: of its test, else of its last validation.
    """

    run: SubjectRun
    status: Literal["done", "failed", "missing"]
    reason: str
    scores: Mapping[str, Any]


def read_subject_result(run: SubjectRun) -> SubjectResult:
    """Reads what a run has left so far.

    Raises:
        UserError: If a file is damaged.
    """
    scores = read_json(run.folder / "test" / "metrics.json") or _validated(run.folder)
    if run.cell.is_done():
        return SubjectResult(run, "done", "", scores)
    failure = run.cell.failure()
    if failure is None:
        return SubjectResult(run, "missing", "", scores)
    return SubjectResult(run, "failed", str(failure.get("reason", "")), scores)


def subjects_table(results: Sequence[SubjectResult]) -> Table:
    """A row a subject: its status and its last scores."""
    table = Table("subject", "status", *(score_name(name).label for name in _SHOWN))
    for result in results:
        said = f"failed: {printable(result.reason)}" if result.reason else result.status
        style = "red" if result.status == "failed" else ""
        values = [result.scores.get(name) for name in _SHOWN]
        shown = ["" if value is None else f"{value:.3f}" for value in values]
        # Text, not markup: names may hold brackets.
        table.add_row(Text(printable(result.run.name)), Text(said, style=style), *shown)
    return table


def subjects_csv(results: Sequence[SubjectResult]) -> str:
    """All subjects with all scores; an empty cell for one that there is not."""
    names = find_scores([result.scores for result in results])
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow([*_PLACES, *names])
    for result in results:
        run, step = result.run, result.scores.get("step", "")
        place = (run.name, run.class_noun, result.status, result.reason, step, run.folder)
        values = [result.scores.get(name) for name in names]
        writer.writerow([*place, *("" if value is None else f"{value:.6f}" for value in values)])
    return buffer.getvalue()


def _validated(folder: Path) -> dict[str, Any]:
    """The last line of scores.csv; empty where nothing was validated."""
    path = folder / "validation" / "scores.csv"
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        return {}
    values = {name: float(value) for name, value in rows[-1].items() if name and value}
    return {name: int(value) if name == "step" else value for name, value in values.items()}
