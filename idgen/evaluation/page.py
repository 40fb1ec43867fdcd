"""A test as a page to look at."""

from collections.abc import Mapping
from typing import Any

from idgen.evaluation.drawing import Evaluation, mean_scores
from idgen.evaluation.suite import Suite
from idgen.pages.run_page import PromptDrawings, render_run_page
from idgen.pictures import as_image


def render_evaluation(
    evaluation: Evaluation, suite: Suite, metrics: Mapping[str, Any], command: str
) -> bytes:
    """The page, UTF-8: photos, all drawings, what metrics.json holds, the command that was run."""
    shown = [
        PromptDrawings(
            drawings[0].request.plain_prompt,
            [as_image(drawing.image) for drawing in drawings],
            mean_scores(drawings),
        )
        for drawings in evaluation.by_prompt()
    ]
    photos = [as_image(photo) for photo in suite.pictures_if_there()]
    return render_run_page(metrics, photos, shown, command)
