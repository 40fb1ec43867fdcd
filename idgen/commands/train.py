"""fit, validate, test and predict: LightningCLI, with a run's folder and its checkpoints."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger

from idgen.callbacks.checkpoint import AdapterCheckpoint, AtomicCheckpointIO
from idgen.callbacks.drawings import DrawingRecorder
from idgen.callbacks.fidelity import FidelityScores
from idgen.callbacks.progress import TrainingProgress
from idgen.callbacks.termination import SIGTERM_EXIT_CODE, GracefulTermination
from idgen.commands.parser import OneLineParser
from idgen.commands.quiet import quieten
from idgen.commands.run_config import RunConfig, checkpoint_config
from idgen.data.datamodule import SubjectDataModule
from idgen.errors import UserError
from idgen.files import check_writable
from idgen.module import PersonalizationModule

_DESCRIPTIONS = {
    "fit": "Trains adapters on one subject's photos; prepares the photos first where needed.",
    "validate": "Draws and scores the validation prompts; --ckpt_path alone is enough.",
    "test": "Draws and scores the whole prompt suite; --ckpt_path alone is enough.",
    "predict": "Draws the prompts of --data.predict_prompts; --ckpt_path alone is enough.",
}
_TRAINER_DEFAULTS: dict[str, Any] = {
    "use_distributed_sampler": False,
    "check_val_every_n_epoch": None,
    "num_sanity_val_steps": -1,
    "max_epochs": -1,
}


class IdgenCLI(LightningCLI):
    """LightningCLI for one module and one datamodule that share a backbone.

    A checkpoint's stored config is the first of the configs, so that `--ckpt_path` alone is
    enough and anything on the command line wins over it.
    """

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the callbacks that every run has, and the links between the parts."""
        parser.add_lightning_class_args(FidelityScores, "fidelity")
        parser.add_lightning_class_args(DrawingRecorder, "drawings")
        parser.add_lightning_class_args(AdapterCheckpoint, "checkpoint")
        parser.link_arguments("model.backbone", "data.backbone", apply_on="instantiate")
        parser.link_arguments("seed_everything", "model.seed", compute_fn=_seed)
        parser.link_arguments("seed_everything", "data.seed", compute_fn=_seed)

    def _parse_ckpt_path(self) -> None:
        # Lightning would let the checkpoint win over the command line; see the class.
        pass

    def before_instantiate_classes(self) -> None:
        """Settles the run's folder, and refuses one that holds another run."""
        config = self.config[self.subcommand]
        root = Path(config.trainer.default_root_dir or "runs/default").expanduser().absolute()
        config.trainer.default_root_dir = str(root)
        if self.subcommand == "fit":
            _check_run_folder(root, config.ckpt_path)

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Adds TensorBoard where no logger is asked for, atomic checkpoints, and SIGTERM."""
        trainer = self.config_init[self.subcommand].trainer
        root = Path(trainer.default_root_dir)
        if self.subcommand != "fit":
            kwargs["logger"] = False
        elif trainer.logger in (None, True):
            kwargs["logger"] = TensorBoardLogger(save_dir=root, name="", version="")
        kwargs["plugins"] = [*_as_list(trainer.plugins), AtomicCheckpointIO()]
        self.termination = GracefulTermination()
        kwargs["callbacks"] = [*_as_list(trainer.callbacks), self.termination, TrainingProgress()]
        return super().instantiate_trainer(**kwargs)


def run_trainer(command: str, options: Sequence[str]) -> int:
    """Runs fit, validate, test or predict.

    Args:
        command: Which.
        options: Its options.

    Returns:
        The exit code.

    Raises:
        UserError: For anything the user can mend.
    """
    quieten()
    stored = checkpoint_config(_option(options, "--ckpt_path"))
    first = [] if stored is None else ["--config", stored]
    cli = IdgenCLI(
        PersonalizationModule,
        SubjectDataModule,
        save_config_callback=RunConfig,
        trainer_defaults=_TRAINER_DEFAULTS,
        seed_everything_default=0,
        parser_class=OneLineParser,
        parser_kwargs={name: _subparser(name) for name in _DESCRIPTIONS},
        auto_configure_optimizers=False,
        args=[command, *first, *options],
    )
    return SIGTERM_EXIT_CODE if cli.termination.received else 0


def _subparser(command: str) -> dict[str, str]:
    return {
        "usage": f"idgen {command} --config FILE [--config OVERLAY ...] [--KEY VALUE ...]",
        "description": _DESCRIPTIONS[command],
    }


def _seed(value: bool | int) -> int:
    if isinstance(value, bool):
        raise UserError("--seed_everything takes a number, such as 0")
    return value


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _option(options: Sequence[str], name: str) -> str | None:
    """The last value given for an option, as `--name value` or `--name=value`."""
    found = None
    for index, option in enumerate(options):
        if option == name and index + 1 < len(options):
            found = options[index + 1]
        elif option.startswith(f"{name}="):
            found = option.partition("=")[2]
    return found


def _check_run_folder(root: Path, ckpt_path: Any) -> None:
    if int(os.environ.get("LOCAL_RANK", "0")) > 0:
        return
    resumes = ckpt_path is not None and root in Path(str(ckpt_path)).absolute().parents
    if (root / "config.yaml").exists() and not resumes:
        raise UserError(
            f"{root} holds another run; choose a new folder with --trainer.default_root_dir, or "
            f"resume it with --ckpt_path {root / 'checkpoints' / 'last.ckpt'}"
        )
    check_writable(root, "--trainer.default_root_dir")
