"""What a run's loggers are handed, read as TensorBoard reads it."""

import csv
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import yaml
from lightning.pytorch.loggers import WandbLogger
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.list_session_groups import Handler

from idgen.runs.hyperparameters import hyperparameters
from tests.workspace import Workspace


def events(run: Path) -> Any:
    read = EventAccumulator(str(run), size_guidance={"scalars": 0, "images": 0})
    return read.Reload()


def rows_of_the_hparams_tab(folder: Path) -> list[Any]:
    found = EventMultiplexer().AddRunsFromDirectory(str(folder))
    found.Reload()
    provider = MultiplexerDataProvider(found, str(folder))
    backend = Context(TBContext(data_provider=provider))
    request = api_pb2.ListSessionGroupsRequest(
        allowed_statuses=[api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_RUNNING],
        include_metrics=True,
        start_index=0,
        slice_size=10,
    )
    return list(Handler(RequestContext(), backend, "", request).run().session_groups)


def test_scores_and_pictures_stand_at_the_same_step(trained: Workspace) -> None:
    read = events(trained.run)
    for score in ("val/dino", "val/clip_i", "val/clip_t", "val/balance"):
        assert [event.step for event in read.Scalars(score)] == [2, 4]
    assert [event.step for event in read.Images("validation")] == [2, 4]
    with (trained.run / "validation" / "scores.csv").open() as file:
        written = [float(row["dino"]) for row in csv.DictReader(file)]
    logged = [event.value for event in read.Scalars("val/dino")]
    assert logged == pytest.approx(written, abs=1e-6)


def test_the_learning_rate_is_logged(workspace: Workspace) -> None:
    schedule = {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 1}}
    changed = workspace.settings()
    changed["model"]["scheduler"] = schedule
    workspace.write(changed)
    assert workspace.fit("--trainer.max_steps=3") == 0
    logged = events(workspace.run).Scalars("train/learning_rate")
    rates = {event.step: event.value for event in logged}
    assert rates == pytest.approx({0: 1e-2, 1: 1e-3, 2: 1e-4})


def test_the_hparams_tab_has_settings_beside_the_final_scores(trained: Workspace) -> None:
    (row,) = rows_of_the_hparams_tab(trained.folder)
    settings = {name: value.string_value for name, value in row.hparams.items()}
    assert settings["model.tuning"] == "LoraTuning"
    assert row.hparams["model.tuning.rank"].number_value == 2
    assert row.hparams["trainer.max_steps"].number_value == 4
    assert row.hparams["model.optimizer.lr"].number_value == pytest.approx(1e-2)
    scores = {metric.name.tag: metric.value for metric in row.metric_values}
    last = events(trained.run).Scalars("val/dino")[-1]
    assert scores["val/dino"] == last.value
    assert {"val/balance", "val/clip_i", "val/clip_t"} <= scores.keys()


class OfflineWandb(WandbLogger):
    """Notes what Weights & Biases would get; its own package is not needed."""

    noted: list[tuple[str, int | None, int]]

    def __init__(self) -> None:
        self.noted = []
        type(self).last = self

    last: "OfflineWandb"

    name = version = save_dir = experiment = None

    def log_hyperparams(self, params: Any) -> None:
        self.noted.append(("settings", None, params["model.tuning.rank"]))

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.noted += [(name, step, 0) for name in metrics if name == "val/dino"]

    def log_image(self, key: str, images: Any, step: int | None = None, **kwargs: Any) -> None:
        self.noted += [(key, step, image.width) for image in images]

    def after_save_checkpoint(self, checkpoint_callback: L.Callback) -> None: ...

    def finalize(self, status: str) -> None: ...


def test_other_loggers_get_them_too_and_files_are_written(workspace: Workspace) -> None:
    loggers = [
        {"class_path": "tests.commands.test_logging.OfflineWandb"},
        {
            "class_path": "lightning.pytorch.loggers.CSVLogger",
            "init_args": {"save_dir": str(workspace.folder / "csv"), "name": "", "version": ""},
        },
    ]
    changed = workspace.settings()
    changed["trainer"] |= {"logger": loggers, "max_steps": 2}
    workspace.write(changed)
    assert workspace.fit("--drawings.grid_prompts=2") == 0
    noted = OfflineWandb.last.noted
    assert noted[0] == ("settings", None, 2)
    assert ("val/dino", 2, 0) in noted
    pictures = [(name, step) for name, step, width in noted if width > 200]
    assert pictures == [("validation", 2)] * 2
    assert len(list((workspace.run / "validation").glob("step-000002*.png"))) == 2
    settings = yaml.safe_load((workspace.folder / "csv" / "hparams.yaml").read_text())
    assert settings["model.tuning.rank"] == 2
    with (workspace.folder / "csv" / "metrics.csv").open() as file:
        rows = {row["step"]: row for row in csv.DictReader(file)}
    assert rows["2"]["val/dino"]
    assert float(rows["0"]["train/learning_rate"]) == pytest.approx(1e-2)


def test_settings_are_flat_and_named_by_their_keys() -> None:
    optimizer = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.1, "betas": [0.9, 0.99]}}
    config = {
        "seed_everything": 3,
        "model": {"optimizer": optimizer, "scheduler": None, "token": "sks"},
        "drawings": {"output": "elsewhere"},
    }
    assert hyperparameters(config) == {
        "seed_everything": 3,
        "model.optimizer": "AdamW",
        "model.optimizer.lr": 0.1,
        "model.optimizer.betas": "[0.9, 0.99]",
        "model.token": "sks",
    }
