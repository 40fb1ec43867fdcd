"""fit, validate, test and predict: LightningCLI, with a run's folder and its checkpoints."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger

from idgen.backbones.backbone import Backbone
from idgen.callbacks.checkpoint import AdapterCheckpoint, AtomicCheckpointIO
from idgen.callbacks.evaluation import EvaluateDrawings
from idgen.callbacks.progress import TrainingProgress
from idgen.callbacks.termination import GracefulTermination
from idgen.commands.early_checks import check_folders, check_photos, check_precision
from idgen.commands.parser import OneLineParser, one_line_errors
from idgen.commands.quiet import HeldLines, quieten
from idgen.commands.run_config import RunConfig, StoredRun, read_stored_run
from idgen.data.datamodule import SubjectDataModule
from idgen.data.subject import Subject
from idgen.errors import UserError
from idgen.evaluation.fidelity import FidelityScores
from idgen.evaluation.recorder import DrawingRecorder
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

    def __init__(
        self,
        stored: StoredRun | None,
        termination: GracefulTermination,
        held: HeldLines | None = None,
    ) -> None:
        """Notes what LightningCLI has no place for.

        Args:
            stored: What the checkpoint says of itself, None without one.
            termination: Handles signals, from before the trainer is built.
            held: Lightning's lines, released once all checks are passed; None if none are held.
        """
        self.stored = stored
        self.termination = termination
        self.held = held

    def start(self, command: str, options: Sequence[str]) -> None:
        """Parses, builds and runs; LightningCLI does it all in its constructor."""
        self.command = command
        first = [] if self.stored is None else ["--config", self.stored.config_for(command)]
        super().__init__(
            PersonalizationModule,
            SubjectDataModule,
            save_config_callback=RunConfig,
            trainer_defaults=_TRAINER_DEFAULTS,
            seed_everything_default=0,
            parser_class=OneLineParser,
            parser_kwargs={command: _subparser(command)},
            auto_configure_optimizers=False,
            args=[command, *first, *options],
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """The one that runs: a parser for each of the others takes as long again to build."""
        return {self.command: super().subcommands()[self.command]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the parts that every run has, and the links between them."""
        parser.add_class_arguments(FidelityScores, "fidelity", sub_configs=True)
        parser.add_class_arguments(DrawingRecorder, "drawings", sub_configs=True)
        parser.add_lightning_class_args(AdapterCheckpoint, "checkpoint")
        # Of the built model, so that prompts are read once the tuning has added its token.
        parser.link_arguments("model", "data.backbone", _backbone, apply_on="instantiate")
        parser.link_arguments("data.subject.token", "model.token")
        noun = ("data.subject.photos", "data.subject.class_noun")
        parser.link_arguments(noun, "model.class_noun", _class_noun)
        parser.link_arguments("seed_everything", "model.seed", compute_fn=_seed)
        parser.link_arguments("seed_everything", "data.seed", compute_fn=_seed)

    def _parse_ckpt_path(self) -> None:
        # Lightning would let the checkpoint win over the command line; see the class.
        pass

    def before_instantiate_classes(self) -> None:
        """Settles the run's folder, and checks what can be without the models' weights.

        Raises:
            UserError: If a folder holds something else, or photos cannot be used.
        """
        config = self.config[self.subcommand]
        root = Path(config.trainer.default_root_dir or "runs/default").expanduser().absolute()
        config.trainer.default_root_dir = str(root)
        check_precision(config)
        check_folders(config, self.command)
        with one_line_errors():
            check_photos(config, self.command)

    def instantiate_classes(self) -> None:
        """Builds the parts, and refuses what does not go together before any work starts.

        Raises:
            UserError: If a value is out of range, or the checkpoint is of another method or
                backbone, or photos or scorers are missing.
        """
        with one_line_errors():
            super().instantiate_classes()
        with one_line_errors():
            self.model.check(self.subcommand == "fit")
        self.model.check_features(self.datamodule.preparation.image_encoder.width)
        if self.stored is not None:
            self.model.check_origin(self.stored.origin, self.subcommand == "fit")
            self.model.check_weights(self.stored.shapes)
        if self.subcommand == "predict":
            if self.datamodule.reference is not None and self.datamodule.reference_weight != 0:
                self.model.conditioning.check_reference()
                self.datamodule.check_reference()
        else:
            self.datamodule.check()
            self.config_init[self.subcommand].fidelity.check()
        if self.held is not None:
            self.held.release()

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Adds the evaluation, TensorBoard where no logger is asked for, and SIGTERM."""
        built = self.config_init[self.subcommand]
        trainer = built.trainer
        root = Path(trainer.default_root_dir)
        if self.subcommand != "fit":
            kwargs["logger"] = False
        elif trainer.logger in (None, True):
            kwargs["logger"] = TensorBoardLogger(save_dir=root, name="", version="")
        kwargs["val_check_interval"] = _in_batches(trainer)
        kwargs["plugins"] = [*_as_list(trainer.plugins), AtomicCheckpointIO()]
        callbacks = [*_as_list(trainer.callbacks), self.termination]
        has_bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
        if trainer.enable_progress_bar is not False and not has_bar:
            callbacks.append(TrainingProgress())
        kwargs["callbacks"] = [*callbacks, EvaluateDrawings(built.fidelity, built.drawings)]
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
    termination = GracefulTermination()
    termination.install()
    held = HeldLines()
    try:
        stored = read_stored_run(_option(options, "--ckpt_path"))
        IdgenCLI(stored, termination, held).start(command, options)
    except SystemExit:
        if termination.received is None:
            raise
    finally:
        held.drop()
        termination.restore()
    return termination.exit_code


def _subparser(command: str) -> dict[str, str]:
    return {
        "usage": f"idgen {command} --config FILE [--config OVERLAY ...] [--KEY VALUE ...]",
        "description": _DESCRIPTIONS[command],
    }


def _backbone(module: PersonalizationModule) -> Backbone:
    return module.backbone


def _class_noun(photos: str | None, class_noun: str) -> str:
    """The class noun, of a demo subject too."""
    if photos is None:
        raise UserError(
            "--data.subject.photos: name a folder of photos, or give --config FILE, such as "
            "configs/base.yaml, or --ckpt_path"
        )
    return Subject(photos, class_noun).class_noun


def _seed(value: bool | int) -> int:
    if isinstance(value, bool) or not 0 <= value < 2**32:
        raise UserError("--seed_everything takes a number from 0 to 4294967295, such as 0")
    return value


def _in_batches(trainer: Any) -> Any:
    """`val_check_interval`, which counts steps of the optimizer as `max_steps` does, in batches.

    With Lightning's own count, validation and the checkpoint after it would fall between two
    steps, where gradients are gathered that no checkpoint holds.
    """
    interval = trainer.val_check_interval
    return interval * trainer.accumulate_grad_batches if isinstance(interval, int) else interval


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
