"""Configs, overlays and single keys laid over each other once, as `idgen fit` would."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from idgen.callbacks.termination import GracefulTermination
from idgen.commands.parser import one_line_errors
from idgen.commands.run_config import STORED
from idgen.commands.train import IdgenCLI
from idgen.data.prompts import suite_identity
from idgen.errors import UserError
from idgen.prepare.segmenters.segmenter import Segmenter


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


class ConfigReader(IdgenCLI):
    """`idgen fit` up to the point where work would start: it parses, and can build the parts."""

    def __init__(self) -> None:
        super().__init__(stored=None, termination=GracefulTermination())

    def _set_seed(self) -> None:
        # Reading a config is no run.
        pass

    def before_instantiate_classes(self) -> None:
        """Leaves run folders alone."""

    def instantiate_classes(self) -> None:
        """Builds nothing; see `identify`."""

    def _run_subcommand(self, subcommand: str) -> None:
        pass

    def frozen(self) -> dict[str, Any]:
        """The whole config, defaults and all, as plain values."""
        text = self._parser("fit").dump(self.config["fit"], skip_none=False, format="yaml")
        everything = yaml.safe_load(text)
        return {key: everything[key] for key in STORED if key in everything}

    def identify(self) -> Identified:
        """Builds the parts once, as a run would, checks what they need, and lets them go.

        Returns:
            What the models are, and how photos and drawings are segmented and scored.

        Raises:
            UserError: If a value is out of range, or photos, models or words cannot be used.
        """
        with one_line_errors():
            built = self.parser.instantiate_classes(self.config)["fit"]
        built.data.check()
        built.fidelity.check()
        built.model.check(True)
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


def read_config(configs: Sequence[str], settings: Mapping[str, Any], who: str) -> ConfigReader:
    """Parses stacked configs.

    Args:
        configs: YAML files; later ones win.
        settings: Dotted keys and their values; they win over the files.
        who: Whose config it is, for errors.

    Returns:
        The reader, which freezes it and builds its parts.

    Raises:
        UserError: If a key or value is refused.
    """
    flags = [flag for path in configs for flag in ("--config", path)]
    flags += [f"--{key}={_spoken(value)}" for key, value in settings.items()]
    reader = ConfigReader()
    try:
        reader.start("fit", flags)
    except UserError as error:
        raise UserError(f"{who}: {error}") from error
    return reader


def _spoken(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
