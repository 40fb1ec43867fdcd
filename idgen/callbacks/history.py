"""One history a run: what a killed run left of steps that come again is taken away at the start."""

import csv
import io
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from idgen.callbacks.checkpoint import AdapterCheckpoint
from idgen.callbacks.evaluation import EvaluateDrawings
from idgen.files import atomic_write, remove_temporary
from idgen.module import PersonalizationModule

_NOTHING = -1  # a step before the first


class OneHistory(Callback):
    """Brings a run's folder to the step that the run goes on from, before it does.

    Scores, grids, best checkpoints and rows of loggers beyond that step are of a stretch that was
    abandoned when the run was killed. The command line adds this callback once it knows that the
    folder is this run's own, and has locked it.
    """

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Removes what comes again; the checkpoint has been loaded, and none was refused."""
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        assert isinstance(pl_module, PersonalizationModule)
        step = _NOTHING if trainer.ckpt_path is None else pl_module.trained_steps
        root = Path(trainer.default_root_dir)
        remove_temporary(root)
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        for callback in callbacks:
            if isinstance(callback, AdapterCheckpoint):
                callback.forget(step)
            elif isinstance(callback, EvaluateDrawings):
                folder = callback.stage_folder(trainer, "fit")
                remove_temporary(folder)
                callback.recorder.forget_validation(folder, step)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                _hide_events(logger, step)
            elif isinstance(logger, CSVLogger) and trainer.ckpt_path is not None:
                _keep_rows(logger, step)


def _hide_events(logger: TensorBoardLogger, step: int) -> None:
    """Lets TensorBoard hide what earlier files hold of later steps."""
    if any(Path(logger.log_dir).glob("events.out.tfevents.*")):
        logger._kwargs.setdefault("purge_step", step + 1)


def _keep_rows(logger: CSVLogger, step: int) -> None:
    """Lets Lightning's logger go on in its file, which it would begin anew.

    Of the resumed step itself, validation's row stays: what else was logged at that number is of
    the step after it, which comes again.
    """
    path = Path(logger.log_dir) / ExperimentWriter.NAME_METRICS_FILE
    if not path.is_file():
        return
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = [row for row in reader if None not in row and None not in row.values()]
        columns = list(reader.fieldnames or [])
    buffer = io.StringIO()
    table = csv.DictWriter(buffer, columns)
    table.writeheader()
    table.writerows(row for row in rows if _is_earlier(row, step))
    atomic_write(path, buffer.getvalue().encode())
    writer = _GoingOn(logger.log_dir)
    writer.metrics_keys = columns
    logger._experiment = writer


def _is_earlier(row: dict[str, Any], step: int) -> bool:
    if not str(row.get("step", "")).isdecimal():
        return False
    validated = any(name.startswith("val/") and value for name, value in row.items())
    return int(row["step"]) < step or (int(row["step"]) == step and validated)


class _GoingOn(ExperimentWriter):
    """Lightning's writer, which keeps the file that is there."""

    def _check_log_dir_exists(self) -> None:
        pass
