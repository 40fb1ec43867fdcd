"""When drawings are scored and written down: Lightning's hooks around an evaluation."""

import shlex
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from rich.console import Console
from rich.progress import track
from rich.table import Table

from idgen.callbacks.pictures import log_pictures
from idgen.callbacks.untrained import Beginning, UntrainedDrawings
from idgen.data.datamodule import SubjectDataModule
from idgen.data.prompts import suite_identity
from idgen.evaluation.drawing import Evaluation, ScoredDrawing, of_all_processes
from idgen.evaluation.evaluator import Evaluator
from idgen.evaluation.fidelity import FidelityScores
from idgen.evaluation.protocol import limit_of
from idgen.evaluation.recorder import DrawingRecorder, Stage
from idgen.evaluation.suite import Companion, Drawer, Suite
from idgen.mini.truth import Shown
from idgen.module import PersonalizationModule


class EvaluateDrawings(Callback):
    """Scores what validation and `test` draw, and writes it down, and what `predict` draws."""

    def __init__(
        self,
        fidelity: FidelityScores,
        drawings: DrawingRecorder,
        untrained: UntrainedDrawings | None = None,
    ) -> None:
        """Takes what to score with, and where drawings go.

        Args:
            fidelity: What scores.
            drawings: What writes down.
            untrained: What models drew before their first step; None to draw that each time.
        """
        self.recorder = drawings
        self._untrained = untrained
        self._beginning: Beginning | None = None
        self.evaluator = Evaluator(fidelity)
        self._evaluation: Evaluation | None = None
        self._found: Evaluation | None = None
        self._predicted: list[ScoredDrawing] = []
        self._folder: Path | None = None

    def stage_folder(self, trainer: L.Trainer, stage: Stage) -> Path:
        """The folder that this run's drawings go to, settled when first asked for."""
        if self._folder is None:
            self._folder = self.recorder.stage_folder(Path(trainer.default_root_dir), stage)
        return self._folder

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: Stage) -> None:  # type: ignore[override]
        """Raises a UserError for bad folders and models; draws a mini subject's line-up."""
        self._folder, self._evaluation, self._predicted = None, None, []
        self._found, self._beginning = None, None
        if trainer.is_global_zero:
            self.recorder.check(Path(trainer.default_root_dir), stage)
        self.stage_folder(trainer, stage)
        if stage == "predict":
            return
        self.evaluator.fidelity.check()
        if stage == "test":
            device = trainer.strategy.root_device
            self.evaluator.learn_truth(_suite(trainer), device, _shown(trainer))

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Loads the encoders, or finds what a run that began alike has drawn and scored."""
        assert isinstance(pl_module, PersonalizationModule)
        suite = _suite(trainer)
        if self._untrained is not None:
            of_run = (trainer, pl_module, suite, self.evaluator.fidelity)
            self._beginning = self._untrained.beginning(*of_run)
            if self._beginning is not None:
                self._found = self._untrained.find(self._beginning)
        if self._found is None:
            self.evaluator.start(suite, pl_module.device)
        else:
            assert self._beginning is not None
            pl_module.drawn = self._beginning.drawings(self._found)

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Loads the encoders, the segmenter and the inpainter."""
        self.evaluator.start_test(_suite(trainer), pl_module.device)
        for reason in self.evaluator.undefined:
            rank_zero_warn(reason)

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any
    ) -> None:
        """Scores a batch of drawings."""
        if self._found is None:
            self.evaluator.add(outputs)

    on_test_batch_end = on_validation_batch_end  # type: ignore[assignment]

    def on_predict_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any
    ) -> None:
        """Keeps a batch of drawings."""
        self._predicted += ScoredDrawing.each(outputs)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Logs the means over all processes; the encoders rest until a fit draws again."""
        self._finish(trainer, pl_module, "val")

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Frees the encoders."""
        self.evaluator.release()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Frees what was loaded: a notebook goes on after it."""
        assert isinstance(pl_module, PersonalizationModule)
        pl_module.stop_drawing()
        self.evaluator.release()

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Logs the means over all processes, and frees what was loaded."""
        self._finish(trainer, pl_module, "test")

    def _finish(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        self._evaluation = self._found or self._finished(trainer.state.fn == TrainerFn.FITTING)
        self._found, self._beginning = None, None
        scores = self._evaluation.scores
        named = {f"{stage}/{name}": v for name, v in scores.items() if v is not None}
        # Lightning's own count would be that of the step before, but the pictures' is this one.
        for logger in trainer.loggers:
            logger.log_metrics(named, step=_step(trainer))
        if trainer.sanity_checking:
            return
        for name, value in named.items():
            shown = name in (f"{stage}/dino", f"{stage}/clip_t")
            module.log(
                name, value, prog_bar=shown, logger=False, sync_dist=False, rank_zero_only=False
            )
        if trainer.is_global_zero and trainer.state.fn != TrainerFn.FITTING:
            _print_scores(named)

    def _finished(self, in_fit: bool) -> Evaluation:
        evaluation = self.evaluator.finish(rests=in_fit)
        for reason in self.evaluator.undefined:
            rank_zero_warn(reason)
        if self._untrained is not None and self._beginning is not None:
            self._untrained.keep(self._beginning, evaluation)
        return evaluation

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the grids of this step, to files and to loggers, and a line of scores."""
        evaluation, self._evaluation = self._evaluation, None
        if not trainer.is_global_zero or evaluation is None or not evaluation.drawings:
            return
        folder, step = self.stage_folder(trainer, "validate"), _step(trainer)
        grids = self.recorder.record_validation(folder, evaluation, _suite(trainer), step)
        log_pictures(trainer.loggers, "validation", grids, step)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes images, grids, images.csv, report.html and metrics.json."""
        evaluation, self._evaluation = self._evaluation, None
        if not trainer.is_global_zero or evaluation is None:
            return
        folder, command = self.stage_folder(trainer, "test"), shlex.join(["idgen", *sys.argv[1:]])
        suite, drawer = _suite(trainer), _drawer(trainer)
        self.recorder.record_test(folder, evaluation, suite, drawer, command)
        rank_zero_info(f"scores and drawings are in {folder}")

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes images and grids."""
        evaluation, self._predicted = Evaluation(of_all_processes(self._predicted)), []
        if not trainer.is_global_zero:
            return
        folder = self.stage_folder(trainer, "predict")
        self.recorder.record_drawings(folder, evaluation, _suite(trainer))
        rank_zero_info(f"{len(evaluation.drawings)} drawings are in {folder}")


def _suite(trainer: L.Trainer) -> Suite:
    datamodule, module = trainer.datamodule, trainer.lightning_module  # type: ignore[attr-defined]
    assert isinstance(datamodule, SubjectDataModule)
    assert isinstance(module, PersonalizationModule)
    preparation, other = datamodule.preparation, datamodule.companion
    companion = None
    if other is not None:
        tokens = (datamodule.subject.token, other.token)
        companion = Companion(other.photos_folder, tokens)
    return Suite(
        class_noun=" and ".join(one.class_noun for one in datamodule.cast.subjects),
        folder=datamodule.subject.photos_folder,
        photos=lambda: datamodule.photos,
        pictures=datamodule.reference_photos,
        parts=datamodule.reference_parts,
        segmenter=preparation.segmenter_for(datamodule.backbone),
        inpainter=preparation.inpainter_of_drawings(datamodule.backbone),
        prompts=len(datamodule.test_prompts),
        prompts_identity=suite_identity(datamodule.test_suite),
        images_per_prompt=datamodule.test_images,
        drawing_seed=datamodule.drawing_seed,
        sampler=module.sampler,
        limit=limit_of(trainer.limit_test_batches) if trainer.testing else None,
        companion=companion,
    )


def _drawer(trainer: L.Trainer) -> Drawer:
    module = trainer.lightning_module
    assert isinstance(module, PersonalizationModule)
    return Drawer(
        checkpoint=None if trainer.ckpt_path is None else str(trainer.ckpt_path),
        step=_step(trainer),
        method=module.origin.method,
        backbone=module.backbone.source,
        backbone_identity=module.backbone.identity,
    )


def _step(trainer: L.Trainer) -> int:
    """Steps that the drawing model was trained for: now, or in the loaded checkpoint."""
    if trainer.state.fn == TrainerFn.FITTING:
        return trainer.global_step
    return int(getattr(trainer.lightning_module, "trained_steps", 0))


def _print_scores(named: Mapping[str, float]) -> None:
    """Prints a command's scores, as Lightning would those that it hands to loggers itself."""
    table = Table("score", "value")
    for name, value in named.items():
        table.add_row(name, f"{value:.4f}")
    Console().print(table)


def _shown(trainer: L.Trainer) -> Shown:
    """Shows how far a line-up is."""
    return partial(
        track,
        description=f"drawing other {_suite(trainer).class_noun}s to tell this one from",
        console=Console(stderr=True),
        disable=not trainer.is_global_zero or trainer.progress_bar_callback is None,
    )
