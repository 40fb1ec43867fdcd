"""What an evaluation leaves for programs: metrics.json, images.csv, scores.csv."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from idgen import __version__
from idgen.evaluation.drawing import Evaluation, Means, ScoredDrawing
from idgen.evaluation.suite import Drawer, Suite
from idgen.files import atomic_write
from idgen.sampling import DrawingRequest

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
        "sampler": vars(suite.sampler),
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


def append_scores(path: Path, step: int, scores: Means) -> None:
    """Adds a step's line to scores.csv, which has one a validation, and a head to a new one."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["step", *scores])
        writer.writerow([step, *(_cell(value) for value in scores.values())])


def image_file(request: DrawingRequest) -> Path:
    """A drawing's file, from the folder that the tables are in."""
    words = re.sub(r"[^\w]+", "-", request.prompt).strip("-")[:60]
    return Path("images") / f"{request.prompt_index:03d}-{words}-{request.number}.png"


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"
