"""Configs, overlays and single keys laid over each other once, as `idgen fit` would."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning.pytorch.cli import ArgsType, LightningArgumentParser

from idgen.data.prompts import suite_identity
from idgen.prepare.segmenters.segmenter import Segmenter
from idgen.runs.building import note_parts
from idgen.runs.checks import check_parts
from idgen.runs.cli import PartsCLI
from idgen.runs.parser import keys_in_errors, one_line_errors
from idgen.runs.stored import STORED


@dataclass(frozen=True)
class Identities:
    """What a config's models are, whatever they are called.

    Attributes:
        backbone: Name of the backbone.
        backbone_identity: Hash of its files.
        clip_identity: Hash of what CLIP-I and CLIP-T are computed with.
        dino_identity: The same for DINO.
    """

    backbone: str
    backbone_identity: str
    clip_identity: str
    dino_identity: str


@dataclass(frozen=True)
class Scoring:
    """What else of a config decides scores, and is no part of a method.

    Attributes:
        prompts: Hash of the prompts' templates.
        photo_segmenter: Hash of what finds the subject in the photos.
        segmenter: Hash of what finds it in drawings.
        inpainter: Hash of what takes it away.
    """

    prompts: str
    photo_segmenter: str
    segmenter: str
    inpainter: str


@dataclass(frozen=True)
class Identified:
    """What a config was found to be.

    Attributes:
        models: What its models are.
        scoring: How its drawings are scored.
        photo_segmenter: What finds the subject in its photos.
    """

    models: Identities
    scoring: Scoring
    photo_segmenter: Segmenter


class ConfigReader(PartsCLI):
    """The parser of `idgen fit`, for any number of configs; it runs nothing."""

    def __init__(self) -> None:
        """Builds the parser."""
        self.start(run=False, args=[])

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parses nothing yet, and leaves the random state alone; see `read`."""
        self.config = Namespace({"seed_everything": False})  # type: ignore[no-untyped-call]

    def instantiate_classes(self) -> None:
        """Builds nothing yet; see `identify`."""
        note_parts(self.parser)

    def read(self, configs: Sequence[str], settings: Mapping[str, Any]) -> Namespace:
        """Parses stacked configs.

        Args:
            configs: YAML files; later ones win.
            settings: Dotted keys and their values; they win over the files.

        Returns:
            What was parsed.

        Raises:
            UserError: If a key or value is refused.
        """
        flags = [flag for path in configs for flag in ("--config", path)]
        flags += [f"--{key}={_spoken(value)}" for key, value in settings.items()]
        parsed: Namespace = self.parser.parse_args(flags)
        return parsed

    def frozen(self, config: Namespace) -> dict[str, Any]:
        """The whole config, defaults and all, as plain values."""
        everything = yaml.safe_load(self.parser.dump(config, skip_none=False, format="yaml"))
        return {key: everything[key] for key in STORED if key in everything}

    def identify(self, config: Namespace) -> Identified:
        """Builds the parts once, checks them as a run would, and lets them go; loads nothing.

        Args:
            config: Of `read`.

        Returns:
            What the models are, and how photos and drawings are segmented and scored.

        Raises:
            UserError: If a value is out of range, or photos, models or words cannot be used.
        """
        with keys_in_errors(lambda: config), one_line_errors():
            built = self.parser.instantiate_classes(config)
            check_parts(built.model, built.data, built.fidelity, "fit")
            return _identified(built)


def _identified(built: Namespace) -> Identified:
    backbone, preparation = built.model.backbone, built.data.preparation
    of_photos = preparation.segmenter_for(backbone)
    models = Identities(
        backbone.source,
        backbone.identity,
        built.fidelity.clip.identity,
        built.fidelity.dino.identity,
    )
    scoring = Scoring(
        suite_identity(built.data.test_suite),
        of_photos.identity,
        (built.fidelity.segmenter or of_photos).identity,
        preparation.inpainter.identity,
    )
    return Identified(models, scoring, of_photos)


def _spoken(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
