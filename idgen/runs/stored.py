"""A run's whole config: beside its checkpoints, and inside them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.trainer.states import TrainerFn

from idgen.callbacks.evaluation import EvaluateDrawings
from idgen.data.datamodule import SubjectDataModule
from idgen.data.prompts import SUITES
from idgen.errors import UserError, first_line
from idgen.evaluation.recorder import Stage
from idgen.files import atomic_write
from idgen.module import CHECKPOINT_KEY

STORED = ("seed_everything", "trainer", "model", "data", "fidelity", "drawings", "checkpoint")

_PATH_KEYS = ("source", "model", "pretrained", "checkpoint", "folder", "reference")
_LOCAL = "local-dir:"
# What belongs to the machine that trained, not to what it trained.
_OF_THE_MACHINE = ("accelerator", "devices", "num_nodes", "strategy")


@dataclass(frozen=True)
class StoredRun:
    """What a checkpoint says of the run that wrote it.

    Attributes:
        config: The run's whole config, YAML.
        origin: Its backbone and method.
        shapes: The shape of each trained weight by name.
    """

    config: str
    origin: dict[str, Any]
    shapes: dict[str, torch.Size]

    def config_for(self, command: str) -> str:
        """The config as a command starts from it: another one than fit takes any machine."""
        if command == "fit":
            return self.config
        config = yaml.safe_load(self.config)
        for key in _OF_THE_MACHINE:
            config.get("trainer", {}).pop(key, None)
        return as_yaml(config)


class RunConfig(SaveConfigCallback):
    """Saves the config in the run's folder on fit, and in the drawings' folder otherwise."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Nothing yet: a checkpoint that is refused after this must leave no trace."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves the config in the run's folder."""
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._write(trainer, Path(trainer.default_root_dir))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves the config beside what `validate` drew."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._write(trainer, _drawings_folder(trainer, "validate"))

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves the config beside what was drawn."""
        self._write(trainer, _drawings_folder(trainer, "test"))

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves the config beside what was drawn."""
        self._write(trainer, _drawings_folder(trainer, "predict"))

    def _write(self, trainer: L.Trainer, folder: Path) -> None:
        """Writes config.yaml; a resumed run keeps the earlier ones under numbers."""
        if not trainer.is_global_zero:
            return
        folder.mkdir(parents=True, exist_ok=True)
        path, text = folder / "config.yaml", self._text(trainer)
        if path.exists() and path.read_text() != text:
            taken = sum(1 for _ in folder.glob("config.*.yaml"))
            path.rename(folder / f"config.{taken + 1}.yaml")
        atomic_write(path, text.encode())

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Stores the config, so that the checkpoint is enough by itself."""
        checkpoint.setdefault(CHECKPOINT_KEY, {})["config"] = self._text(trainer)

    def _text(self, trainer: L.Trainer) -> str:
        everything = yaml.safe_load(self.parser.dump(self.config, skip_none=False, format="yaml"))
        config = {key: everything[key] for key in STORED if key in everything}
        datamodule = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(datamodule, SubjectDataModule)
        _make_absolute(config, datamodule)
        return as_yaml(config)


def as_yaml(config: dict[str, Any]) -> str:
    """A config of plain values as YAML, keys in their order."""
    text: str = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    return text


def _drawings_folder(trainer: L.Trainer, stage: Stage) -> Path:
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    evaluate = next(c for c in callbacks if isinstance(c, EvaluateDrawings))
    return evaluate.stage_folder(trainer, stage)


def _make_absolute(config: dict[str, Any], datamodule: SubjectDataModule) -> None:
    """Makes paths absolute, so that the checkpoint can be used from any folder."""
    data = config["data"]
    subject = data["subject"]
    subject["prepared"] = str(datamodule.subject.prepared_folder.absolute())
    if not subject["photos"].startswith("mini:"):
        subject["photos"] = str(datamodule.subject.photos_folder.absolute())
    for key in ("validation_prompts", "test_prompts", "predict_prompts"):
        if isinstance(data[key], str) and data[key] not in SUITES:
            data[key] = str(Path(data[key]).expanduser().absolute())
    config["drawings"]["output"] = None
    for key in ("model", "data", "fidelity"):
        _resolve_paths(config[key])


def _resolve_paths(part: Any) -> None:
    """Makes the folders and files of models absolute, wherever in a config they are named."""
    items = part.items() if isinstance(part, dict) else enumerate(part)
    for key, value in list(items):
        if isinstance(value, (dict, list)):
            _resolve_paths(value)
        elif key in _PATH_KEYS and isinstance(value, str) and value != "mini":
            scheme = _LOCAL if value.startswith(_LOCAL) else ""
            path = Path(value.removeprefix(_LOCAL)).expanduser()
            if path.exists():
                part[key] = f"{scheme}{path.absolute()}"


def read_stored_run(ckpt_path: str | None) -> StoredRun | None:
    """Reads what a checkpoint says of itself; None where no checkpoint is named.

    Raises:
        UserError: If the file is missing, damaged, or was not written by idgen.
    """
    if ckpt_path is None or ckpt_path == "null":
        return None
    path = Path(ckpt_path).expanduser()
    if not path.is_file():
        raise UserError(f"--ckpt_path: there is no file {path}; give a checkpoint (*.ckpt)")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises several kinds for a damaged file
        raise UserError(
            f"--ckpt_path: cannot read {path} ({first_line(error, 120)}); it is damaged or no "
            "checkpoint"
        ) from error
    made = checkpoint.get(CHECKPOINT_KEY) if isinstance(checkpoint, dict) else None
    wanted = ("config", "backbone", "backbone_source", "method")
    if not isinstance(made, dict) or not all(isinstance(made.get(key), str) for key in wanted):
        raise UserError(f"--ckpt_path: {path} was not written by idgen fit")
    shapes = {key: value.shape for key, value in (checkpoint.get("state_dict") or {}).items()}
    return StoredRun(made["config"], made, shapes)
