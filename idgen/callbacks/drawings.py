"""Keeps what is drawn: image files, captioned grids, tables of scores."""

import csv
import io
import json
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.distributed
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from PIL import Image
from torch import Tensor

from idgen import __version__
from idgen.callbacks.fidelity import FIDELITY, TEST_SCORES, FidelityScores, ScoredDrawing
from idgen.data.datamodule import SubjectDataModule
from idgen.errors import UserError
from idgen.files import atomic_write, check_writable
from idgen.module import PersonalizationModule
from idgen.pages.run_page import PromptDrawings, render_run_page
from idgen.pictures import PromptRow, as_image, captioned_grid, save_png
from idgen.sampling import DrawingRequest, Drawings

_STAGES = {"validate": "validation", "fit": "validation", "test": "test", "predict": "predict"}


@dataclass
class _Kept:
    request: DrawingRequest
    image: Tensor
    scores: dict[str, float | None]

    @classmethod
    def scored(cls, drawing: ScoredDrawing) -> "_Kept":
        return cls(drawing.request, drawing.image, drawing.scores)


class DrawingRecorder(Callback):
    """Writes drawings to files, and validation's grid to TensorBoard as well.

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
        """
        self.output = output
        self.grid_prompts = grid_prompts
        self._kept: list[_Kept] = []
        self._folder: Path | None = None

    # Where

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuses a folder that holds other drawings, before any work starts.

        Raises:
            UserError: If the given output folder is not empty.
        """
        self._folder = None
        given = self.output if stage in ("test", "predict") else None
        if given is not None and trainer.is_global_zero:
            check_output(given)
        folder = self.stage_folder(trainer, stage)
        if given is None and trainer.is_global_zero:
            check_writable(folder, "--trainer.default_root_dir")

    def stage_folder(self, trainer: L.Trainer, stage: str) -> Path:
        """The folder that this run's drawings go to.

        Args:
            trainer: The trainer.
            stage: `fit`, `validate`, `test` or `predict`.
        """
        if self._folder is None:
            name = _STAGES[stage]
            if self.output is not None and stage in ("test", "predict"):
                self._folder = self.output
            elif stage == "fit":
                self._folder = Path(trainer.default_root_dir) / name
            else:
                self._folder = _unused(Path(trainer.default_root_dir) / name)
        return self._folder

    # What

    def _keep(self, drawings: Drawings) -> None:
        each = zip(drawings.requests, drawings.images, strict=True)
        self._kept += [_Kept(request, image, {}) for request, image in each]

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Keeps a batch."""
        self._keep(outputs)

    def _gathered(self, trainer: L.Trainer) -> list[_Kept]:
        scores = _find_scores(trainer)
        if scores is not None and scores.scored:
            self._kept = [_Kept.scored(drawing) for drawing in scores.scored]
        everyone = [self._kept]
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            everyone = [[] for _ in range(trainer.world_size)]
            torch.distributed.all_gather_object(everyone, self._kept)
        self._kept = []
        drawings = [kept for of_process in everyone for kept in of_process]
        return sorted(drawings, key=lambda k: (k.request.prompt_index, k.request.number))

    # Validation

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the grid of this step, to a file and to TensorBoard, and a line of scores."""
        drawings = self._gathered(trainer)
        if not trainer.is_global_zero or not drawings:
            return
        folder, step = self.stage_folder(trainer, "validate"), _step(trainer)
        folder.mkdir(parents=True, exist_ok=True)
        grids = self._grids(trainer, drawings, f"step {step}")
        for index, grid in enumerate(grids):
            suffix = f"-{index + 1}" if len(grids) > 1 else ""
            save_png(grid, folder / f"step-{step:06d}{suffix}.png")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                pixels = np.asarray(grids[0])
                logger.experiment.add_image("validation", pixels, step, dataformats="HWC")
        scores = _find_scores(trainer)
        if scores is not None:
            _append_scores(folder / "scores.csv", step, scores.scores)

    # Test and predict

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes images, grids, images.csv, report.html and metrics.json."""
        drawings = self._gathered(trainer)
        if not trainer.is_global_zero:
            return
        folder = self.stage_folder(trainer, "test")
        files = self._write_images(trainer, folder, drawings)
        _write_table(folder / "images.csv", drawings, files)
        report = self._report(trainer, drawings)
        page = _page(trainer, report, drawings)
        atomic_write(folder / "report.html", page)
        atomic_write(folder / "metrics.json", json.dumps(report, indent=2).encode() + b"\n")
        rank_zero_info(f"scores and drawings are in {folder}")

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes images and grids."""
        drawings = self._gathered(trainer)
        if not trainer.is_global_zero:
            return
        folder = self.stage_folder(trainer, "predict")
        self._write_images(trainer, folder, drawings)
        rank_zero_info(f"{len(drawings)} drawings are in {folder}")

    def _write_images(
        self, trainer: L.Trainer, folder: Path, drawings: Sequence[_Kept]
    ) -> list[Path]:
        (folder / "images").mkdir(parents=True, exist_ok=True)
        files = [_image_name(kept.request) for kept in drawings]
        for kept, file in zip(drawings, files, strict=True):
            save_png(kept.image, folder / file)
        grids = self._grids(trainer, drawings, folder.name)
        for index, grid in enumerate(grids):
            save_png(grid, folder / (f"grid-{index + 1}.png" if len(grids) > 1 else "grid.png"))
        return files

    def _grids(
        self, trainer: L.Trainer, drawings: Sequence[_Kept], title: str
    ) -> list[Image.Image]:
        by_prompt: dict[int, list[_Kept]] = {}
        for kept in drawings:
            by_prompt.setdefault(kept.request.prompt_index, []).append(kept)
        rows = [_row(of_prompt) for of_prompt in by_prompt.values()]
        datamodule = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(datamodule, SubjectDataModule)
        photos = _photos(datamodule)
        name = datamodule.subject.photos_folder.name
        size = self.grid_prompts
        return [
            captioned_grid(rows[start : start + size], f"{name}: {title}", photos)
            for start in range(0, len(rows), size)
        ]

    def _report(self, trainer: L.Trainer, drawings: Sequence[_Kept]) -> dict[str, Any]:
        scores = _find_scores(trainer)
        protocol = None if scores is None else scores.protocol
        module = trainer.lightning_module
        assert isinstance(module, PersonalizationModule)
        datamodule = trainer.datamodule  # type: ignore[attr-defined]
        return {
            **({} if scores is None else scores.scores),
            **({} if scores is None else {"photos": scores.photo_scores}),
            "images": len(drawings),
            "prompts": len({kept.request.prompt_index for kept in drawings}),
            "subject": datamodule.subject.photos_folder.name,
            "class_noun": datamodule.subject.class_noun,
            "checkpoint": None if trainer.ckpt_path is None else str(trainer.ckpt_path),
            "step": _step(trainer),
            "method": module.origin.method,
            "backbone": module.backbone.source,
            "backbone_identity": module.backbone.identity,
            "sampler": vars(module.sampler),
            "drawing_seed": datamodule.drawing_seed,
            "protocol": None if protocol is None else protocol.to_json(),
            "idgen_version": __version__,
        }


def check_output(folder: Path) -> None:
    """Refuses a folder for drawings that holds anything.

    Args:
        folder: Existing or not.

    Raises:
        UserError: If it is not empty, or cannot be written.
    """
    check_writable(folder, "--drawings.output (--out)")
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty; name a new folder for the drawings")


def _photos(datamodule: SubjectDataModule) -> list[Tensor]:
    """The photos at the head of a grid; a checkpoint that moved draws without them."""
    try:
        return datamodule.reference_photos()
    except UserError:
        return []


def _page(trainer: L.Trainer, metrics: dict[str, Any], drawings: Sequence[_Kept]) -> bytes:
    """The run as a page."""
    by_prompt: dict[str, list[_Kept]] = {}
    for kept in drawings:
        by_prompt.setdefault(kept.request.plain_prompt, []).append(kept)
    shown = [
        PromptDrawings(prompt, [as_image(kept.image) for kept in of_prompt], _means(of_prompt))
        for prompt, of_prompt in by_prompt.items()
    ]
    datamodule = trainer.datamodule  # type: ignore[attr-defined]
    photos = [as_image(photo) for photo in _photos(datamodule)]
    return render_run_page(metrics, photos, shown, shlex.join(["idgen", *sys.argv[1:]]))


def _means(drawings: Sequence[_Kept]) -> dict[str, float]:
    """The mean of each score that all the drawings have."""
    names = drawings[0].scores
    each = {name: [kept.scores.get(name) for kept in drawings] for name in names}
    whole = {name: [v for v in values if v is not None] for name, values in each.items()}
    return {n: sum(v) / len(v) for n, v in whole.items() if len(v) == len(drawings)}


def _find_scores(trainer: L.Trainer) -> FidelityScores | None:
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next((c for c in callbacks if isinstance(c, FidelityScores)), None)


def _step(trainer: L.Trainer) -> int:
    """Steps that the drawing model was trained for: now, or in the loaded checkpoint."""
    if trainer.state.fn == TrainerFn.FITTING:
        return trainer.global_step
    return int(getattr(trainer.lightning_module, "trained_steps", 0))


def _row(drawings: Sequence[_Kept]) -> PromptRow:
    request = drawings[0].request
    note = ""
    if all(kept.scores for kept in drawings):
        means = {n: sum(k.scores[n] or 0.0 for k in drawings) / len(drawings) for n in FIDELITY}
        labels = {"dino": "DINO", "clip_i": "CLIP-I", "clip_t": "CLIP-T"}
        note = " · ".join(f"{labels[name]} {means[name]:.2f}" for name in FIDELITY)
    return PromptRow(request.prompt, [kept.image for kept in drawings], note)


def _image_name(request: DrawingRequest) -> Path:
    words = re.sub(r"[^\w]+", "-", request.prompt).strip("-")[:60]
    return Path("images") / f"{request.prompt_index:03d}-{words}-{request.number}.png"


def _unused(folder: Path) -> Path:
    candidate, number = folder, 1
    while candidate.exists() and any(candidate.iterdir()):
        number += 1
        candidate = folder.with_name(f"{folder.name}-{number}")
    return candidate


def _append_scores(path: Path, step: int, scores: dict[str, float | None]) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["step", *scores])
        writer.writerow([step, *(_cell(value) for value in scores.values())])


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def _write_table(path: Path, drawings: Sequence[_Kept], files: Sequence[Path]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["prompt", "plain_prompt", "number", "seed", "file", *TEST_SCORES])
    for kept, file in zip(drawings, files, strict=True):
        request = kept.request
        scores = [_cell(kept.scores.get(name)) for name in TEST_SCORES]
        writer.writerow(
            [
                *(request.prompt, request.plain_prompt, request.number, request.seed),
                *(file.as_posix(), *scores),
            ]
        )
    atomic_write(path, buffer.getvalue().encode())
