"""Logs of a run that goes on: nothing earlier is lost, and nothing is there twice."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from idgen.files import atomic_write


def go_on_logging(loggers: Iterable[Logger], step: int | None) -> None:
    """Lets Lightning's loggers go on in the files of earlier tries; before the trainer runs.

    What they hold of steps that come again is hidden (TensorBoard) or removed (CSV).

    Args:
        loggers: Of the trainer, before anything is logged.
        step: The step that the run goes on from, None if it begins.
    """
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            _hide_events(logger, -1 if step is None else step)
        elif isinstance(logger, CSVLogger) and step is not None:
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
