"""What an evaluation leaves for programs: metrics.json, images.csv, scores.csv."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from idgen import __version__
from idgen.evaluation.drawing import Evaluation, Means, ScoredDrawing
from idgen.evaluation.suite import Drawer, Suite
from idgen.files import atomic_write

PLACES = ("prompt", "plain_prompt", "number", "seed", "file")
"""The columns of images.csv beside the scores."""


def metrics_content(evaluation: Evaluation, suite: Suite, drawer: Drawer) -> dict[str, Any]:
    """The content of metrics.json: a whole suite's scores, and what says what they are of."""
    protocol = evaluation.protocol
    return {
        **evaluation.scores,
        "photos": evaluation.photo_scores,
        "images": len(evaluation.drawings),
        "prompts": len(evaluation.by_prompt()),
        "subject": suite.name,
        "class_noun": suite.class_noun,
        "checkpoint": drawer.checkpoint,
        "step": drawer.step,
        "method": drawer.method,
        "backbone": drawer.backbone,
        "backbone_identity": drawer.backbone_identity,
        "sampler": suite.sampler.settings,
        "drawing_seed": suite.drawing_seed,
        "protocol": None if protocol is None else protocol.to_json(),
        "idgen_version": __version__,
    }


def write_images_table(
    path: Path, drawings: Sequence[ScoredDrawing], files: Sequence[Path], scores: Sequence[str]
) -> None:
    """Writes images.csv: a row a drawing with its file, an empty cell for a score it has not."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow([*PLACES, *scores])
    for drawing, file in zip(drawings, files, strict=True):
        request = drawing.request
        what = (request.prompt, request.plain_prompt, request.number, request.seed)
        values = [_cell(drawing.scores.get(name)) for name in scores]
        writer.writerow([*what, file.as_posix(), *values])
    atomic_write(path, buffer.getvalue().encode())


def record_scores(path: Path, step: int, scores: Means) -> None:
    """Writes a step's line in scores.csv, which has one line a validation."""
    earlier = [row for row in _read_scores(path) if _step_of(row) != step]
    line = {"step": str(step), **{name: _cell(value) for name, value in scores.items()}}
    _write_scores(path, [*earlier, line])


def forget_scores(path: Path, after: int) -> None:
    """Takes the lines of later steps, and those that were cut short, out of scores.csv.

    Args:
        path: The file; without any line left it goes, and there may be none.
        after: The last step whose line stays.
    """
    rows = _read_scores(path)
    kept = [row for row in rows if (step := _step_of(row)) is not None and step <= after]
    if not kept:
        path.unlink(missing_ok=True)
    elif kept != rows:
        _write_scores(path, kept)


def _read_scores(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    # A line that was cut short lacks values, which are None here.
    return [row for row in rows if None not in row and None not in row.values()]


def _write_scores(path: Path, rows: Sequence[dict[str, str]]) -> None:
    buffer = io.StringIO()
    columns = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(buffer, list(columns), restval="")
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, buffer.getvalue().encode())


def _step_of(row: dict[str, str]) -> int | None:
    step = row.get("step", "")
    return int(step) if step.isdecimal() else None


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"
