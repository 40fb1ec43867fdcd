"""Drawings by prompt under the subject's photos, as pictures."""

from collections.abc import Sequence

from PIL import Image

from idgen.evaluation.drawing import Evaluation, ScoredDrawing, mean_scores
from idgen.evaluation.scores import FIDELITY
from idgen.evaluation.suite import Suite
from idgen.pictures import PromptRow, captioned_grid

_LABELS = dict(zip(FIDELITY, ("DINO", "CLIP-I", "CLIP-T"), strict=True))


def draw_grids(evaluation: Evaluation, suite: Suite, title: str, prompts: int) -> list[Image.Image]:
    """Lays out all drawings, with scores or without, in as many grids as it takes.

    Args:
        evaluation: Perhaps without drawings, of which there is no grid.
        suite: What was drawn; its photos stand on top where they are there.
        title: Heading, after the subject's name.
        prompts: Prompts a grid shows at most.
    """
    rows = [_row(drawings) for drawings in evaluation.by_prompt()]
    photos = suite.pictures_if_there()
    return [
        captioned_grid(rows[start : start + prompts], f"{suite.name}: {title}", photos)
        for start in range(0, len(rows), prompts)
    ]


def _row(drawings: Sequence[ScoredDrawing]) -> PromptRow:
    means = mean_scores(drawings)
    shown = [f"{label} {means[name]:.2f}" for name, label in _LABELS.items() if name in means]
    images = [drawing.image for drawing in drawings]
    return PromptRow(drawings[0].request.prompt, images, " · ".join(shown))
