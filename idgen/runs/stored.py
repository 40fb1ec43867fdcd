"""A run's whole config: beside its checkpoints, and inside them."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.trainer.states import TrainerFn

from idgen.callbacks.evaluation import EvaluateDrawings
from idgen.data.datamodule import SubjectDataModule
from idgen.data.prompts import SUITES
from idgen.errors import UserError, first_line
from idgen.evaluation.recorder import Stage
from idgen.files import atomic_write
from idgen.integrity import can_go_on, check_archive, check_trained, text_digest
from idgen.runs.hyperparameters import log_hyperparameters
from idgen.sources import is_mini_backbone
from idgen.trained_module import CHECKPOINT_KEY
from idgen.yaml_texts import own_yaml

STORED = (
    *("seed_everything", "trainer", "model", "data", "fidelity", "drawings", "compile"),
    "checkpoint",
)

_PATH_KEYS = (
    "source",
    "file",
    "config",
    "model",
    "pretrained",
    "checkpoint",
    "folder",
    "reference",
)
_LOCAL = "local-dir:"
# What belongs to the machine that trained, not to what it trained.
_OF_THE_MACHINE = ("accelerator", "devices", "num_nodes", "strategy")


@dataclass(frozen=True)
class StoredRun:
    """What a checkpoint says of the run that wrote it.

    Attributes:
        path: The checkpoint.
        config: The run's whole config; None where there is none that can be used.
        lacks: Why there is none, empty where there is one.
        origin: Its backbone and method.
        shapes: The shape of each trained weight by name.
        step: Steps that it was trained for.
        can_go_on: Whether it holds what it takes to train on, and not weights alone.
    """

    path: Path
    config: dict[str, Any] | None
    lacks: str
    origin: dict[str, Any]
    shapes: dict[str, torch.Size]
    step: int
    can_go_on: bool

    def configs_for(self, command: str, given: bool) -> list[str]:
        """The configs that a command starts from, as YAML: the one that is stored.

        Another command than fit takes any machine. A run that was moved stays where it is now: in
        the folder that its checkpoints are in.

        Args:
            command: `fit`, `validate`, `test` or `predict`.
            given: Whether the command line names configs, which are enough where none is stored.

        Raises:
            UserError: If there is no config at all.
        """
        if self.config is None:
            if given:
                return []
            raise UserError(
                f"--ckpt_path: {self.path} {self.lacks}; give the config that it was trained with: "
                "--config FILE"
            )
        config = {**self.config, "trainer": dict(self.config["trainer"])}
        folder = self.path.absolute().parent
        if folder.name == "checkpoints" and (folder.parent / "config.yaml").is_file():
            config["trainer"]["default_root_dir"] = str(folder.parent)
        for key in () if command == "fit" else _OF_THE_MACHINE:
            config["trainer"].pop(key, None)
        return [as_yaml(config)]


class RunConfig(SaveConfigCallback):
    """Saves the config in the run's folder on fit, and in the drawings' folder otherwise."""

    _found: dict[str, Any] | None = None
    _said: str | None = None

    def take(self, config: dict[str, Any]) -> None:
        """Takes the config that `whole_config` found, which would be found again."""
        self._found = copy.deepcopy(config)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Nothing yet: a checkpoint that is refused after this must leave no trace."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves the config in the run's folder, and hands it to the loggers."""
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            text = self._write(trainer, Path(trainer.default_root_dir))
            if text is not None:
                log_hyperparameters(trainer.loggers, own_yaml(text))

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

    def _write(self, trainer: L.Trainer, folder: Path) -> str | None:
        """Writes config.yaml; a resumed run keeps the earlier ones under numbers.

        Returns:
            What was written; None on other processes than the first.
        """
        if not trainer.is_global_zero:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        path, text = folder / "config.yaml", self._text(trainer)
        earlier = path.read_text(encoding="utf-8") if path.exists() else text
        if earlier != text:
            taken = sum(1 for _ in folder.glob("config.*.yaml"))
            # A copy: a run that is killed in between still has its config.
            atomic_write(folder / f"config.{taken + 1}.yaml", earlier.encode())
        atomic_write(path, text.encode())
        return text

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Stores the config with its checksum, so that the checkpoint is enough by itself."""
        text = self._text(trainer)
        made = checkpoint.setdefault(CHECKPOINT_KEY, {})
        made |= {"config": text, "config_digest": text_digest(text)}

    def _text(self, trainer: L.Trainer) -> str:
        """The config, which stays the same for as long as the command runs."""
        if self._said is None:
            datamodule = trainer.datamodule  # type: ignore[attr-defined]
            assert isinstance(datamodule, SubjectDataModule)
            found = self._found or whole_config(self.parser, self.config, datamodule)
            make_paths_absolute(found)  # of folders too that the run itself has made by now
            self._said = as_yaml(found)
        return self._said


def whole_config(
    parser: ArgumentParser, parsed: Namespace, datamodule: SubjectDataModule
) -> dict[str, Any]:
    """A run's config with all defaults, as plain values that hold in any folder.

    Args:
        parser: The command's.
        parsed: What it parsed.
        datamodule: What it built of `data`.
    """
    config = plain_config(parser, parsed)
    _place_subjects(config["data"], datamodule)
    make_paths_absolute(config)
    return config


def plain_config(parser: ArgumentParser, parsed: Namespace) -> dict[str, Any]:
    """What was parsed of a run, with all defaults, as plain values."""
    everything = own_yaml(parser.dump(parsed, skip_none=False, format="yaml"))
    return {key: everything[key] for key in STORED if key in everything}


def as_yaml(config: dict[str, Any]) -> str:
    """A config of plain values as YAML, keys in their order."""
    text: str = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    return text


def _drawings_folder(trainer: L.Trainer, stage: Stage) -> Path:
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    evaluate = next(c for c in callbacks if isinstance(c, EvaluateDrawings))
    return evaluate.stage_folder(trainer, stage)


def _place_subjects(data: dict[str, Any], datamodule: SubjectDataModule) -> None:
    """Makes the subjects' paths absolute."""
    for key, of in (("subject", datamodule.subject), ("companion", datamodule.companion)):
        if of is None:
            continue
        subject = data[key]
        subject["prepared"] = str(of.prepared_folder.absolute())
        if not subject["photos"].startswith("mini:"):
            subject["photos"] = str(of.photos_folder.absolute())


def make_paths_absolute(config: dict[str, Any]) -> None:
    """Makes paths absolute but for the subjects', so that the config holds in any folder.

    Args:
        config: Plain values, all keys of `STORED` among them; it is changed.
    """
    data = config["data"]
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
        elif key in _PATH_KEYS and isinstance(value, str) and not is_mini_backbone(value):
            scheme = _LOCAL if value.startswith(_LOCAL) else ""
            path = Path(value.removeprefix(_LOCAL)).expanduser()
            if path.exists():
                part[key] = f"{scheme}{path.absolute()}"


def read_stored_run(ckpt_path: str | None) -> StoredRun | None:
    """Reads what a checkpoint says of itself; None where no checkpoint is named.

    Raises:
        UserError: If the file is missing, damaged, holds weights that cannot be drawn with, or was
            not written by idgen.
    """
    if ckpt_path is None or ckpt_path == "null":
        return None
    path = Path(ckpt_path).expanduser()
    if not path.is_file():
        raise UserError(f"--ckpt_path: there is no file {path}; give a checkpoint (*.ckpt)")
    try:
        check_archive(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises several kinds for a damaged file
        raise UserError(
            f"--ckpt_path: cannot read {path} ({first_line(error, 120)}); it is damaged or no "
            "checkpoint"
        ) from error
    made = checkpoint.get(CHECKPOINT_KEY) if isinstance(checkpoint, dict) else None
    wanted = ("backbone", "backbone_source", "method")
    if not isinstance(made, dict) or not all(isinstance(made.get(key), str) for key in wanted):
        raise UserError(f"--ckpt_path: {path} was not written by idgen fit")
    weights, step = checkpoint.get("state_dict"), checkpoint.get("global_step")
    named = isinstance(weights, dict) and all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in weights.items()
    )
    if (
        not named
        or not isinstance(step, int)
        or step < 0
        or "pytorch-lightning_version" not in checkpoint
    ):
        raise UserError(
            f"--ckpt_path: {path} holds no weights or no step; it is no whole checkpoint"
        )
    assert isinstance(weights, dict)
    assert isinstance(step, int)
    try:
        check_trained(weights, made.get("weights_digest"))
    except UserError as error:
        raise UserError(f"--ckpt_path: {path}: {error}") from error
    config, lacks = _read_config(made)
    shapes = {key: value.shape for key, value in weights.items()}
    return StoredRun(path, config, lacks, made, shapes, step, can_go_on(checkpoint))


def _read_config(made: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """The config in a checkpoint, or why there is none."""
    text = made.get("config")
    if text is None:
        return None, "holds no config, as it was not saved by the command line"
    damaged = "holds a config that is damaged"
    if not isinstance(text, str) or made.get("config_digest", text_digest(text)) != text_digest(
        text
    ):
        return None, damaged
    try:
        config = own_yaml(text)
    except yaml.YAMLError:
        return None, damaged
    parts = ("trainer", "model", "data")
    if not isinstance(config, dict) or not all(isinstance(config.get(p), dict) for p in parts):
        return None, damaged
    return config, ""
