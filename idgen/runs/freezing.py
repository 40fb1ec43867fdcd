"""Configs, overlays and single keys laid over each other once, as `idgen fit` would."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.cli import ArgsType, LightningArgumentParser

from idgen import __version__
from idgen.data.prompts import suite_identity
from idgen.evaluation.protocol import PAIRING, Protocol, limit_of
from idgen.prepare.segmenters.segmenter import Segmenter
from idgen.runs.building import note_parts
from idgen.runs.checks import check_nulls, check_parts, check_precision
from idgen.runs.cli import PartsCLI
from idgen.runs.monitors import check_monitors
from idgen.runs.parser import keys_in_errors, one_line_errors
from idgen.runs.sharding import check_sharding, is_sharded
from idgen.runs.stored import plain_config
from idgen.runs.trainer import check_callbacks, check_trainer_builds, expected_steps


@dataclass(frozen=True)
class Identified:
    """What a config was found to be.

    Attributes:
        backbone: Name of its backbone.
        backbone_identity: Hash of that one's files.
        protocol: How its drawings are made and scored. Preprocessing is left out: it is known once
            models are loaded, and follows from their identities.
        photo_segmenter: What finds the subject in its photos.
    """

    backbone: str
    backbone_identity: str
    protocol: Protocol
    photo_segmenter: Segmenter


class ConfigReader(PartsCLI):
    """The parser of `idgen fit`, for any number of configs; it runs nothing."""

    def __init__(self) -> None:
        """Builds the parser."""
        self.start(run=False, load_from_checkpoint_support=False, args=[])

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parses nothing yet, and leaves the random state alone; see `read`."""
        self.config = Namespace({"seed_everything": False})  # type: ignore[no-untyped-call]

    def instantiate_classes(self) -> None:
        """Builds nothing yet; see `build`."""
        note_parts(self.parser)

    def read(self, configs: Sequence[str], settings: Mapping[str, Any]) -> Namespace:
        """Parses stacked configs.

        Args:
            configs: YAML files; later ones win.
            settings: Dotted keys and their values; they win over the files.

        Raises:
            UserError: If a key or value is refused.
        """
        flags = [flag for path in configs for flag in ("--config", path)]
        for key, value in settings.items():
            flags.append(f"--{key}={value if isinstance(value, str) else json.dumps(value)}")
        parsed: Namespace = self.parser.parse_args(flags)
        return parsed

    def frozen(self, config: Namespace) -> dict[str, Any]:
        """The whole config, defaults and all, as plain values."""
        return plain_config(self.parser, config)

    def build(self, config: Namespace) -> "BuiltRun":
        """Builds the parts once; nothing is loaded.

        Args:
            config: Of `read`.

        Raises:
            UserError: If a value is out of range, or prompts or words cannot be used.
        """
        with keys_in_errors(lambda: config), one_line_errors():
            check_nulls(config)
            return BuiltRun(config, self.parser.instantiate_classes(config))


@dataclass(frozen=True)
class BuiltRun:
    """A config with its parts, light as they are before anything runs.

    Attributes:
        config: What was parsed.
        parts: The parts by key.
    """

    config: Namespace
    parts: Namespace

    def identify(self) -> Identified:
        """What the models are and how pictures are scored; a UserError if files are missing."""
        with keys_in_errors(lambda: self.config):
            return _identified(self.parts, self.config.trainer.limit_test_batches)

    def check(self) -> None:
        """Raises the UserError that `idgen fit` would raise before any work."""
        self.check_settings()
        parts = self.parts
        with keys_in_errors(lambda: self.config), one_line_errors():
            check_parts(parts.model, parts.data, parts.fidelity, "fit")

    def check_settings(self) -> None:
        """Does what `check` does, but for photos and models, which are not looked at."""
        parts = self.parts
        with keys_in_errors(lambda: self.config), one_line_errors():
            check_precision(self.config)
            trainer = check_trainer_builds(parts.trainer)
            check_callbacks(_listed(parts.trainer.callbacks))
            check_sharding(trainer, _listed(parts.trainer.callbacks), parts.model.backbone)
            if is_sharded(trainer.strategy):
                device, gathered = trainer.strategy.root_device, trainer.accumulate_grad_batches
                parts.compile.check(device, gathered, split=True)
            check_monitors(_listed(parts.trainer.callbacks), parts.model)
            parts.model.check_length(expected_steps(trainer, parts.data.steps_per_epoch))


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [] if value is None else [value]


def _identified(built: Namespace, limit: float | None) -> Identified:
    module, data, fidelity = built.model, built.data, built.fidelity
    of_photos = data.preparation.segmenter_for(module.backbone)
    of_drawings = data.preparation.inpainter_of_drawings(module.backbone)
    protocol = Protocol(
        dino=fidelity.dino.model,
        dino_revision=fidelity.dino.revision,
        dino_identity=fidelity.dino.identity,
        dino_preprocessing={},
        clip=fidelity.clip.model,
        clip_revision=fidelity.clip.pretrained,
        clip_identity=fidelity.clip.identity,
        clip_preprocessing={},
        pairing=PAIRING,
        photo_segmenter=of_photos.identity,
        segmenter=(fidelity.segmenter or of_photos).identity,
        inpainter=(fidelity.inpainter or of_drawings).identity,
        sampler={"name": type(module.sampler).__name__, **module.sampler.settings},
        drawing_seed=data.drawing_seed,
        prompts=suite_identity(data.test_suite),
        images_per_prompt=data.test_images,
        idgen_version=__version__,
        scores={score.name: score.identity for score in fidelity.scores},
        limit=limit_of(limit),
    )
    return Identified(module.backbone.source, module.backbone.identity, protocol, of_photos)
