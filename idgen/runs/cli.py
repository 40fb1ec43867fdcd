"""LightningCLI for one module and one datamodule that share a backbone."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from jsonargparse import Namespace
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from idgen.backbones.backbone import Backbone
from idgen.callbacks.checkpoint import AdapterCheckpoint, AtomicCheckpointIO
from idgen.callbacks.compiled import CompiledDenoiser
from idgen.callbacks.evaluation import EvaluateDrawings
from idgen.callbacks.history import OneHistory
from idgen.callbacks.progress import TrainingProgress
from idgen.callbacks.termination import GracefulTermination
from idgen.callbacks.untrained import UntrainedDrawings
from idgen.compilation import Compilation
from idgen.data.datamodule import SubjectDataModule
from idgen.data.subject import Subject
from idgen.errors import UserError, first_line
from idgen.evaluation.fidelity import FidelityScores
from idgen.evaluation.kept import KeptEvaluations
from idgen.evaluation.recorder import DrawingRecorder
from idgen.fingerprint import cache_folder
from idgen.importing import uncollected
from idgen.module import PersonalizationModule
from idgen.prepare.kohya_folders import kohya_root
from idgen.runs.building import note_parts
from idgen.runs.checks import (
    check_clipping,
    check_device,
    check_drawings,
    check_launch,
    check_nulls,
    check_parts,
    check_precision,
)
from idgen.runs.folder import Progress, RunFolder
from idgen.runs.logs import go_on_logging
from idgen.runs.monitors import check_monitors
from idgen.runs.nodes import wait_for_nodes
from idgen.runs.parser import OneLineParser, keys_in_errors, one_line_errors
from idgen.runs.quiet import HeldLines, quiet_writers
from idgen.runs.resuming import Start, settle
from idgen.runs.several import SeveralSubjects, find_several
from idgen.runs.sharding import check_sharding, is_sharded
from idgen.runs.stored import RunConfig, StoredRun, plain_config, whole_config
from idgen.runs.trainer import (
    check_callbacks,
    check_end,
    check_trainer_values,
    expected_steps,
    let_gradients_share_memory,
    untrained_note,
)
from idgen.threads import share_cores

_TRAINER_DEFAULTS: dict[str, Any] = {
    "use_distributed_sampler": False,
    "check_val_every_n_epoch": None,
    "num_sanity_val_steps": -1,
    "max_epochs": -1,
}


class PartsCLI(LightningCLI):
    """What a run is made of: its parts and the links between them."""

    def start(self, **options: Any) -> None:
        """Does what LightningCLI does in its constructor, which takes the options."""
        super().__init__(
            PersonalizationModule,
            SubjectDataModule,
            save_config_callback=RunConfig,
            trainer_defaults=_TRAINER_DEFAULTS,
            seed_everything_default=0,
            parser_class=OneLineParser,
            auto_configure_optimizers=False,
            **options,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the parts that every run has, and the links between them."""
        parser.add_class_arguments(FidelityScores, "fidelity", sub_configs=True)
        parser.add_class_arguments(DrawingRecorder, "drawings", sub_configs=True)
        parser.add_class_arguments(Compilation, "compile", sub_configs=True)
        parser.add_lightning_class_args(AdapterCheckpoint, "checkpoint")
        # Of the built model, so that prompts are read once the tuning has added its token.
        parser.link_arguments("model", "data.backbone", _backbone, apply_on="instantiate")
        parser.link_arguments("data.subject.token", "model.token")
        noun = ("data.subject.photos", "data.subject.class_noun")
        parser.link_arguments(noun, "model.class_noun", _class_noun)
        parser.link_arguments("seed_everything", "model.seed", compute_fn=_seed)
        parser.link_arguments("seed_everything", "data.seed", compute_fn=_seed)


class IdgenCLI(PartsCLI):
    """Runs fit, validate, test or predict.

    A checkpoint's stored config is the first of the configs, so that `--ckpt_path` alone is
    enough and anything on the command line wins over it. `fit` locks its folder, and goes on where
    an unfinished run of the same config was left there.
    """

    def __init__(
        self,
        command: str,
        stored: StoredRun | None,
        termination: GracefulTermination,
        of_several: Sequence[str] = (),
    ) -> None:
        """Notes what LightningCLI has no place for.

        Args:
            command: `fit`, `validate`, `test` or `predict`.
            stored: What the checkpoint says of itself, None without one.
            termination: Handles signals, from before the trainer is built.
            of_several: Options that were given and are for folders of several subjects alone.
        """
        self.command, self.stored, self.termination = command, stored, termination
        self.of_several = of_several

    def run(self, options: Sequence[str], held: HeldLines, **texts: str) -> None:
        """Parses, builds, checks and runs.

        Args:
            options: Of the command line.
            held: Lightning's lines, released once all checks are passed.
            **texts: Of the command's help.

        Raises:
            UserError: For anything the user can mend.
            SeveralSubjects: If a fit's photos are those of several; nothing was done yet.
        """
        self.held, stored = held, self.stored
        given = any(option == "--config" or option.startswith("--config=") for option in options)
        configs = [] if stored is None else stored.configs_for(self.command, given)
        first = [flag for config in configs for flag in ("--config", config)]
        with (
            ExitStack() as self.folder_lock,
            ExitStack() as self.starting,
            keys_in_errors(lambda: self.parsed),
            quiet_writers(),
            self._folder_in_errors(),
        ):
            self.starting.enter_context(uncollected())
            self.start(parser_kwargs={self.command: texts}, args=[self.command, *first, *options])

    @contextmanager
    def _folder_in_errors(self) -> Iterator[None]:
        """Names the run's folder where a file that could not be written has no name."""
        try:
            yield
        except OSError as error:
            config = self.parsed
            if error.filename is None and config is not None:
                error.filename = config.trainer.default_root_dir
            raise

    @property
    def parsed(self) -> Namespace | None:
        """The command's config; None until it is read."""
        config = getattr(self, "config", None)
        return None if config is None else config.get(self.command)

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """The one that runs: a parser for each of the others takes as long again to build."""
        return {self.command: super().subcommands()[self.command]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Makes the command's keys known to the parser above, whose errors they may be in."""
        super().add_arguments_to_parser(parser)
        assert isinstance(self.parser, OneLineParser)
        assert isinstance(parser, OneLineParser)
        self.parser.commands.append(parser)

    def _parse_ckpt_path(self) -> None:
        # Lightning would let the checkpoint win over the command line; see the class.
        pass

    def before_instantiate_classes(self) -> None:
        """Settles the run's folder, and checks what needs no part."""
        note_parts(self.parser)
        config = self.config[self.command]
        folder = RunFolder.of(config.trainer.default_root_dir, config.checkpoint.dirpath)
        config.trainer.default_root_dir = str(folder.root)
        self.folder = folder
        check_nulls(config)
        check_trainer_values(config.trainer)
        check_precision(config)
        if self.command == "fit":
            self._check_one_subject(config)

    def _check_one_subject(self, config: Namespace) -> None:
        folders = find_several(config)
        if folders:
            parser = self._parser(self.command)
            raise SeveralSubjects(plain_config(parser, config), folders)
        if self.of_several:
            raise UserError(
                f"{self.of_several[0]}: --data.subject.photos {config.data.subject.photos} is one "
                "subject, and the option is for a folder that holds a folder for each of several"
            )

    def instantiate_classes(self) -> None:
        """Builds the parts once, and refuses what does not go together; see `check_parts`."""
        with one_line_errors():
            super().instantiate_classes()
            check_launch(self.trainer.world_size, self.trainer.num_nodes)
            check_sharding(self.trainer, self.trainer.callbacks, self.model.backbone)  # type: ignore[attr-defined]
            if self.command == "fit":
                check_callbacks(self.trainer.callbacks)  # type: ignore[attr-defined]
                check_end(self.trainer)
                check_monitors(self.trainer.callbacks, self.model)  # type: ignore[attr-defined]
                check_device(self.config[self.command].trainer, self.device)
                check_clipping(self.model.optimization, self.trainer)
                gathered, split = (
                    self.trainer.accumulate_grad_batches,
                    is_sharded(self.trainer.strategy),
                )
                self._compilation.check(self.device, gathered, split)
                self._settle_fit()
                self._compile()
            else:
                if self.trainer.is_global_zero:
                    check_drawings(self.config[self.command], self.command)
                self._check_parts(self.stored)
        self.held.release()
        if (note := wait_for_nodes(self.trainer)) is not None:
            # Of each node, not of the first alone, which may be the one that is missing.
            print(note, file=sys.stderr, flush=True)
        self.starting.close()

    @property
    def _compilation(self) -> Compilation:
        compilation: Compilation = self.config_init[self.command].compile
        return compilation

    @property
    def device(self) -> torch.device:
        """Where it runs; the CPU until that is settled."""
        trainer = getattr(self, "trainer", None)
        return torch.device("cpu") if trainer is None else trainer.strategy.root_device

    def _compile(self) -> None:
        """Decides whether the denoiser is compiled, and says so."""
        steps = expected_steps(self.trainer, self.datamodule.steps_per_epoch)
        plan = self._compilation.plan(self.device, steps, is_sharded(self.trainer.strategy))
        if plan.says is not None:
            rank_zero_info(plan.says)
        if plan.compiles:
            self.trainer.callbacks.append(CompiledDenoiser(plan))  # type: ignore[attr-defined]

    def _check_parts(self, stored: StoredRun | None) -> None:
        fidelity = self.config_init[self.command].fidelity
        check_parts(self.model, self.datamodule, fidelity, self.command, stored)

    def _settle_fit(self) -> None:
        """Settles what the fit goes on from, and locks its folder once nothing is refused.

        Other processes than the first look at the folder as well, before they join it, and it
        writes nothing until they have: all find the same.
        """
        config = whole_config(
            self._parser(self.command), self.config[self.command], self.datamodule
        )
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, RunConfig):
                callback.take(config)
        start = self._start(config)
        trained = 0 if start.stored is None else start.stored.step
        steps = expected_steps(self.trainer, self.datamodule.steps_per_epoch)
        self.model.check_length(steps, trained)
        if self.trainer.is_global_zero:
            self.folder.check_writable()
        self._check_parts(start.stored)
        if self.trainer.is_global_zero and not self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            self.folder_lock.enter_context(self.folder.locked())
            # Another run may have begun, or ended, before the lock was there.
            start = self._start(config)
        self.progress = Progress(start.begun_from)
        self.resumed_step = None if start.stored is None else start.stored.step
        checkpoint = None if start.checkpoint is None else str(start.checkpoint)
        self.config_init[self.command].ckpt_path = checkpoint
        if start.said is not None:
            rank_zero_info(start.said)

    def _start(self, config: dict[str, Any]) -> Start:
        named = self.config[self.command].ckpt_path
        given = None if named is None else Path(str(named))
        return settle(self.folder, given, self.stored, config)

    def before_fit(self) -> None:
        """Notes that the run in the folder is this one; from here on, it is changed."""
        self._note(finished=False)
        if self.trainer.is_global_zero:
            go_on_logging(self.trainer.loggers, self.resumed_step)

    def after_fit(self) -> None:
        """Notes that the run is finished, unless told to stop; says if nothing was trained."""
        stopped = self.termination.received is not None
        self._note(finished=not stopped)
        note = untrained_note(self.trainer, self.model.trained_steps)
        if note is not None and not stopped:
            rank_zero_warn(note)

    def _note(self, finished: bool) -> None:
        if self.trainer.is_global_zero and not self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            self.folder.write_progress(replace(self.progress, finished=finished))

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Adds the evaluation, TensorBoard where no logger is asked for, and SIGTERM."""
        built = self.config_init[self.command]
        trainer = built.trainer
        root = Path(trainer.default_root_dir)
        if self.command != "fit":
            kwargs["logger"] = False
        elif trainer.logger in (None, True):
            kwargs["logger"] = TensorBoardLogger(save_dir=root, name="", version="")
        kwargs["val_check_interval"] = _in_batches(trainer)
        kwargs["plugins"] = [*_as_list(trainer.plugins), AtomicCheckpointIO()]
        callbacks = [*_as_list(trainer.callbacks), self.termination]
        has_bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
        if trainer.enable_progress_bar is not False and not has_bar:
            callbacks.append(TrainingProgress())
        if self.command == "fit":
            callbacks.append(OneHistory())
        untrained = self._untrained()
        evaluate = EvaluateDrawings(built.fidelity, built.drawings, untrained)
        kwargs["callbacks"] = [*callbacks, evaluate]
        try:
            made = super().instantiate_trainer(**kwargs)
        except RuntimeError as error:  # Lightning's about what launches processes, such as Slurm
            raise UserError(f"trainer: {first_line(error, 200)}") from error
        let_gradients_share_memory(made.strategy)
        threads = share_cores(made.num_devices)
        if self.command == "fit":
            rank_zero_info(threads)
        return made

    def _untrained(self) -> UntrainedDrawings | None:
        """What runs that began alike drew; None for a user without a home, who keeps nothing."""
        with suppress(RuntimeError):
            kept = KeptEvaluations(cache_folder() / "untrained")
            return UntrainedDrawings(kept, self.config_dump["model"], self.config_dump["fidelity"])
        return None


def _backbone(module: PersonalizationModule) -> Backbone:
    return module.backbone


def _class_noun(photos: str | None, class_noun: str) -> str:
    """The class noun, of a demo subject too."""
    if photos is not None and not photos.strip():
        raise UserError("--data.subject.photos is blank; name a folder")
    if photos is None:
        raise UserError(
            "--data.subject.photos: name a folder of photos, or give --config FILE, such as "
            "configs/base.yaml, or --ckpt_path"
        )
    if len(kohya_root(Path(photos).expanduser())) > 1:
        return class_noun  # each of them has its own; see `SeveralSubjects`
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
    return list(value) if isinstance(value, (list, tuple)) else [] if value is None else [value]
