"""The page of a single `idgen test`: its scores, and every drawing beside the photos."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from idgen.report.drawing_table import DrawingRow, drawing_table, photo_strip
from idgen.report.elements import Markup, table
from idgen.report.page import (
    Section,
    command_block,
    definitions,
    flattened_protocol,
    render_page,
)
from idgen.report.scores import find_scores, photo_values, score_name, score_values

_BESIDE = 4  # drawings of a prompt in a row
_NOTED = 3  # scores below a prompt


@dataclass(frozen=True)
class PromptDrawings:
    """What was drawn for one prompt.

    Attributes:
        prompt: The prompt without the token.
        pictures: Its drawings.
        scores: Their mean scores by key, of those that drawings have one by one.
    """

    prompt: str
    pictures: Sequence[Image.Image]
    scores: Mapping[str, float]


def render_run_page(
    metrics: Mapping[str, Any],
    photos: Sequence[Image.Image],
    drawings: Sequence[PromptDrawings],
    command: str,
) -> bytes:
    """Writes the page.

    Args:
        metrics: The content of metrics.json.
        photos: The subject's photos; none if they are not there.
        drawings: By prompt, in the suite's order.
        command: What was run.

    Returns:
        The page, UTF-8, pictures and all.
    """
    trained = f"after {metrics['step']} steps" if metrics.get("step") else "untrained"
    lead = (
        f"{metrics['class_noun']}, {metrics['method']}, {trained}: {metrics['images']} drawings "
        f"of {metrics['prompts']} prompts."
    )
    facts = {
        "checkpoint": str(metrics.get("checkpoint") or "none: the untrained model"),
        "idgen": str(metrics.get("idgen_version", "")),
        **flattened_protocol({"backbone": metrics.get("backbone")}),
        **flattened_protocol({"sampler": metrics.get("sampler") or {}}),
        **flattened_protocol(dict(metrics.get("protocol") or {})),
    }
    sections = [
        Section("Scores", _scores(metrics)),
        Section("Drawings", photo_strip(photos) + _drawings(drawings)),
        Section("Protocol", definitions(facts)),
        Section("Command", command_block(command)),
    ]
    return render_page(f"Test of {metrics['subject']}", lead, sections)


def _scores(metrics: Mapping[str, Any]) -> str:
    keys = find_scores([metrics])
    if not keys:
        return "<p>Nothing was scored.</p>\n"
    photos = photo_values(metrics)
    rows: list[list[str | Markup]] = []
    for key, value in score_values(metrics, keys).items():
        name = score_name(key)
        of_photos = [_shown(photos[key]) if key in photos else ""] if photos else []
        label = f"{name.label} {name.arrow}".strip()
        rows.append([label, _shown(value), *of_photos, name.meaning])
    head = ["score", "mean", *(["photos, each against the others"] if photos else [])]
    return table([*head, "what it measures"], rows, "scores")


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _drawings(drawings: Sequence[PromptDrawings]) -> str:
    """A row a prompt; further rows where it has many drawings."""
    columns = min(_BESIDE, max((len(d.pictures) for d in drawings), default=1))
    rows = []
    for drawing in drawings:
        some_scores = list(drawing.scores.items())[:_NOTED]
        note = " · ".join(f"{score_name(k).label} {v:.2f}" for k, v in some_scores)
        for start in range(0, len(drawing.pictures), columns):
            some: list[Image.Image | None] = list(drawing.pictures[start : start + columns])
            some += [None] * (columns - len(some))
            name, below = (drawing.prompt, note) if start == 0 else ("", "")
            rows.append(DrawingRow(name, some, [drawing.prompt] * columns, below, empty=""))
    return drawing_table([""] * columns, rows) if rows else "<p>No drawings.</p>\n"
