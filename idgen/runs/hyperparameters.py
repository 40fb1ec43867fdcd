"""A run's settings as its loggers take them: one flat row, to compare runs by."""

from collections.abc import Iterable, Iterator
from textwrap import shorten
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger

Value = str | int | float | bool
_SECTIONS = ("seed_everything", "trainer", "model", "data")
_LONGEST = 100


def hyperparameters(config: dict[str, Any]) -> dict[str, Value]:
    """The settings of a run's config, nested keys with dots; null is left out.

    A part stands under its key by the name of its class, and its settings below that:
    `model.tuning: LoraTuning`, `model.tuning.rank: 8`.

    Args:
        config: Plain values, as in `config.yaml`.
    """
    return dict(_flat("", {key: config[key] for key in _SECTIONS if key in config}))


def _flat(key: str, value: Any) -> Iterator[tuple[str, Value]]:
    if isinstance(value, dict):
        if "class_path" in value:
            yield key, str(value["class_path"]).rpartition(".")[2]
            value = value.get("init_args") or {}
        for name, nested in value.items():
            yield from _flat(f"{key}.{name}" if key else str(name), nested)
    elif isinstance(value, (str, int, float)):
        yield key, value
    elif value is not None:
        yield key, shorten(str(value), _LONGEST)


def log_hyperparameters(loggers: Iterable[Logger], config: dict[str, Any]) -> None:
    """Hands a run's settings to its loggers, on the first process.

    TensorBoard's HPARAMS tab shows them beside the last value of each score, for all runs of a
    folder and while they go on. Lightning's logger would add the run's own list of columns, which
    hides other runs' settings.

    Args:
        loggers: The trainer's.
        config: The run's config of plain values.
    """
    # Slow to import, and needed by TensorBoard alone.
    from torch.utils.tensorboard.summary import hparams

    settings = hyperparameters(config)
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            _, session_start, _ = hparams(settings, {})  # type: ignore[no-untyped-call]
            logger.experiment.file_writer.add_summary(session_start)
        else:
            logger.log_hyperparams(settings)
