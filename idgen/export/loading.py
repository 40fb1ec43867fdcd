"""From a checkpoint to a run that can be exported."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace

from idgen.data.datamodule import SubjectDataModule
from idgen.data.prompts import read_suite
from idgen.errors import UserError
from idgen.export.exported_run import ExportedRun, Reference, check_family
from idgen.export.format import ExportFormat
from idgen.module import PersonalizationModule
from idgen.placeholders import filled
from idgen.runs.checks import check_parts
from idgen.runs.freezing import BuiltRun, ConfigReader
from idgen.runs.parser import keys_in_errors, one_line_errors
from idgen.runs.stored import StoredRun, read_stored_run

_BACKBONE = "model.backbone.init_args"


@dataclass(frozen=True)
class Wanted:
    """What is to be exported.

    Attributes:
        checkpoint: Of `idgen fit`.
        configs: Files over the checkpoint's own config.
        prompts: With [V]; none for those of the config's `predict`.
        seed: Of the drawing that is compared; None for the config's.
        base: Where the base is, if it has moved.
        reference: A photo whose scene is to be kept.
        reference_weight: How much of it.
    """

    checkpoint: str
    configs: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    seed: int | None = None
    base: str | None = None
    reference: str | None = None
    reference_weight: float = 1.0

    @property
    def settings(self) -> dict[str, Any]:
        """Keys over the configs."""
        found: dict[str, Any] = {}
        if self.seed is not None:
            found["data.drawing_seed"] = self.seed
        if self.prompts:
            found["data.predict_prompts"] = list(self.prompts)
        if self.base is not None:
            found[f"{_BACKBONE}.source"] = _found(self.base)
        if self.reference is not None:
            found |= {
                "data.reference": self.reference,
                "data.reference_weight": self.reference_weight,
            }
        return found


def _found(name: str) -> str:
    """A folder from anywhere, or a hub id."""
    path = Path(name).expanduser()
    return str(path.absolute()) if path.is_dir() else name


@dataclass(frozen=True)
class CheckedRun:
    """A checkpoint with its parts, all light; nothing refuses them.

    Attributes:
        stored: What the checkpoint says of itself.
        built: Its parts.
        prompts: To be exported, with [V].
        reference: Whether a photo is to be kept.
    """

    stored: StoredRun
    built: BuiltRun
    prompts: tuple[str, ...]
    reference: bool

    @property
    def module(self) -> PersonalizationModule:
        """The module, light until `load`."""
        module: PersonalizationModule = self.built.parts.model
        return module

    @property
    def data(self) -> SubjectDataModule:
        """Its data."""
        data: SubjectDataModule = self.built.parts.data
        return data

    def load(self, device: torch.device) -> ExportedRun:
        """Brings weights in.

        Args:
            device: Where to draw.

        Raises:
            UserError: If some are missing or damaged.
        """
        module, data = self.module, self.data
        with keys_in_errors(lambda: self.built.config):
            module.configure_model()
            checkpoint = torch.load(self.stored.path, map_location="cpu", weights_only=True)
            module.load_state_dict(checkpoint["state_dict"])
            module.eval().to(device)
            reference = None
            if self.reference:
                data.setup("predict")
                assert data.reference_features is not None
                reference = Reference(data.reference_features, data.reference_weight)
        seed = data.drawing_seed
        return ExportedRun(module, self.stored.step, self.prompts, seed, reference)


def check_run(wanted: Wanted, form: ExportFormat) -> CheckedRun:
    """Reads a checkpoint and refuses what cannot be exported; no weights of models are loaded.

    Args:
        wanted: What is to be exported.
        form: As what.

    Raises:
        UserError: If the checkpoint is damaged, its base has moved or changed, a prompt cannot be
            used, or the format cannot hold the method.
    """
    stored = read_stored_run(wanted.checkpoint)
    if stored is None:
        raise UserError("CKPT: name a checkpoint of idgen fit (*.ckpt)")
    own = stored.configs_for("predict", bool(wanted.configs))
    reader = ConfigReader()
    config = reader.read([*own, *wanted.configs], wanted.settings)
    _in_float32(config)
    built = reader.build(config)
    module, data = built.parts.model, built.parts.data
    kept = wanted.reference is not None and data.reference_weight != 0
    with keys_in_errors(lambda: config), one_line_errors():
        check_family(module, form.name)
        form.check(module, kept)
        check_parts(module, data, built.parts.fidelity, "predict", stored)
        prompts = _prompts(config.data.predict_prompts, data)
    return CheckedRun(stored, built, prompts, kept)


def _in_float32(config: Namespace) -> None:
    """Frozen weights too: half precision would hide what an export gets wrong."""
    key = f"{_BACKBONE}.dtype"
    if config.get(key) is not None:
        config[key] = "float32"


def _prompts(suite: str | list[str], data: SubjectDataModule) -> tuple[str, ...]:
    """The prompts of `predict` with their [V]; building the data has checked them."""
    noun, live = data.subject.class_noun, data.subject.live
    given = read_suite(suite, live=live, class_noun=noun) if isinstance(suite, str) else suite
    return tuple(filled(prompt, noun) for prompt in given)
