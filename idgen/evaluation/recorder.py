"""Where drawings and their scores go: image files, captioned grids, tables, a page."""

import json
from pathlib import Path
from typing import Literal

from PIL import Image

from idgen.errors import UserError
from idgen.evaluation.drawing import Evaluation
from idgen.evaluation.files import (
    forget_scores,
    metrics_content,
    record_scores,
    write_images_table,
)
from idgen.evaluation.grids import draw_grids
from idgen.evaluation.page import render_evaluation
from idgen.evaluation.scores import TEST_SCORES
from idgen.evaluation.suite import Drawer, Suite
from idgen.files import atomic_write, check_output, check_writable
from idgen.pictures import save_png

Stage = Literal["fit", "validate", "test", "predict"]
_FOLDERS: dict[Stage, str] = {
    "fit": "validation",
    "validate": "validation",
    "test": "test",
    "predict": "predict",
}


class DrawingRecorder:
    """Writes drawings to files.

    Validation gives a grid a time and a line in `scores.csv`, below `validation/`. `test` and
    `predict` write a folder each: one PNG an image, `grid.png`, and for `test` `images.csv`
    with one row an image, `metrics.json`, and `report.html`, which shows all of it.
    """

    def __init__(self, output: Path | None = None, grid_prompts: int = 30) -> None:
        """Sets where drawings go.

        Args:
            output: Folder of `test` or `predict`; by default `test/` or `predict/` in the run's
                folder, numbered where there is one already.
            grid_prompts: Prompts a grid shows at most; further ones get further grids.

        Raises:
            UserError: If a grid is to show none.
        """
        if grid_prompts < 1:
            raise UserError("drawings.grid_prompts must be 1 or more")
        self.output = output
        self.grid_prompts = grid_prompts

    def stage_folder(self, root: Path, stage: Stage) -> Path:
        """The folder below a run's, `root`, that its drawings go to, a new one but for `fit`."""
        folder, given = root / _FOLDERS[stage], self._given(stage)
        return given or (folder if stage == "fit" else _unused(folder))

    def check(self, root: Path, stage: Stage) -> None:
        """Raises a UserError if a run of `root` cannot write, or its given folder is not empty."""
        given = self._given(stage)
        if given is None:
            check_writable(root / _FOLDERS[stage], "trainer.default_root_dir")
        else:
            check_output(given)

    def _given(self, stage: Stage) -> Path | None:
        return self.output if stage in ("test", "predict") else None

    def record_validation(
        self, folder: Path, evaluation: Evaluation, suite: Suite, step: int
    ) -> list[Image.Image]:
        """Writes and returns the grids of a step of training, and writes a line of scores."""
        grids = draw_grids(evaluation, suite, f"step {step}", self.grid_prompts)
        _save_grids(grids, folder / f"step-{step:06d}.png")
        record_scores(folder / "scores.csv", step, evaluation.scores)
        return grids

    def forget_validation(self, folder: Path, after: int) -> None:
        """Removes the grids and scores of steps that a run which goes on will come to again.

        Args:
            folder: Of a run's validation; there may be none.
            after: The last step that stays.
        """
        for grid in folder.glob("step-*.png"):
            step = grid.stem.split("-")[1]
            if step.isdecimal() and int(step) > after:
                grid.unlink()
        forget_scores(folder / "scores.csv", after)

    def record_test(
        self, folder: Path, evaluation: Evaluation, suite: Suite, drawer: Drawer, command: str
    ) -> None:
        """Writes images, grids, images.csv, report.html with the command, metrics.json last."""
        self.record_drawings(folder, evaluation, suite)
        files = [drawing.request.file for drawing in evaluation.drawings]
        own = [name for name in evaluation.scores if name not in (*TEST_SCORES, "balance")]
        columns = (*TEST_SCORES, *own)
        write_images_table(folder / "images.csv", evaluation.drawings, files, columns)
        metrics = metrics_content(evaluation, suite, drawer)
        page = render_evaluation(evaluation, suite, metrics, command)
        atomic_write(folder / "report.html", page)
        atomic_write(folder / "metrics.json", json.dumps(metrics, indent=2).encode() + b"\n")

    def record_drawings(self, folder: Path, evaluation: Evaluation, suite: Suite) -> None:
        """Writes images and grids, with scores where there are some; makes the folder."""
        (folder / "images").mkdir(parents=True, exist_ok=True)
        for drawing in evaluation.drawings:
            save_png(drawing.image, folder / drawing.request.file)
        grids = draw_grids(evaluation, suite, folder.name, self.grid_prompts)
        _save_grids(grids, folder / "grid.png")


def _save_grids(grids: list[Image.Image], path: Path) -> None:
    """Saves one grid there, several under numbers."""
    for number, grid in enumerate(grids, start=1):
        suffix = f"-{number}" if len(grids) > 1 else ""
        save_png(grid, path.with_name(f"{path.stem}{suffix}{path.suffix}"))


def _unused(folder: Path) -> Path:
    candidate, number = folder, 1
    while candidate.exists() and any(candidate.iterdir()):
        number += 1
        candidate = folder.with_name(f"{folder.name}-{number}")
    return candidate
