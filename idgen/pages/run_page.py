"""The page of a single `idgen test`: its scores, and every drawing beside the photos."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from idgen.pages.drawings import DrawingRow, drawing, photo
from idgen.pages.rendering import render_page
from idgen.pages.scores import find_scores, photo_values, score_name, score_values

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
    """Writes the page, UTF-8, pictures and all.

    Args:
        metrics: The content of metrics.json.
        photos: The subject's photos; none if they are not there.
        drawings: By prompt, in the suite's order.
        command: What was run.
    """
    scores = score_values(metrics, find_scores([metrics]))
    columns = min(_BESIDE, max((len(d.pictures) for d in drawings), default=1))
    protocol = metrics.get("protocol") or {}
    facts = {
        "checkpoint": metrics.get("checkpoint") or "none: the untrained model",
        "idgen": metrics.get("idgen_version"),
        "backbone": metrics.get("backbone"),
        **protocol,
        "sampler": {**(metrics.get("sampler") or {}), **(protocol.get("sampler") or {})},
    }
    return render_page(
        "run.html",
        metrics=metrics,
        scores=[(score_name(key), value) for key, value in scores.items()],
        of_photos=photo_values(metrics),
        photos=[photo(image) for image in photos],
        columns=[""] * columns,
        rows=[row for drawn in drawings for row in _rows(drawn, columns)],
        facts=facts,
        command=command,
    )


def _rows(drawn: PromptDrawings, columns: int) -> Iterator[DrawingRow]:
    """A prompt's row, and further ones where it has many drawings."""
    some_scores = list(drawn.scores.items())[:_NOTED]
    note = " · ".join(f"{score_name(key).label} {value:.2f}" for key, value in some_scores)
    for start in range(0, len(drawn.pictures), columns):
        cells = [drawing(image, drawn.prompt) for image in drawn.pictures[start : start + columns]]
        yield DrawingRow("" if start else drawn.prompt, cells, "" if start else note)
