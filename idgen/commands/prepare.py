"""`idgen prepare`: photos to a prepared subject, by hand or from a training config."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import Namespace

from idgen.commands.parser import OneLineParser
from idgen.errors import UserError
from idgen.models.backbone import Backbone
from idgen.models.encoders import ImageEncoder
from idgen.models.stable_diffusion import StableDiffusionBackbone
from idgen.prepare import Preparation, find_photos

_DESCRIPTION = (
    "Turns a folder of photos into a prepared subject: masks, backgrounds without the subject, "
    "features, and contact_sheet.png to look at. Only what is missing or stale is computed."
)


def run_prepare(options: Sequence[str]) -> int:
    """Runs the offline preparation.

    Args:
        options: The command's options.

    Returns:
        The exit code.

    Raises:
        UserError: For anything the user can mend.
    """
    own, rest = _own_options().parse_known_args(list(options))
    parser = _parts_parser()
    configs = [yaml_of_parts(Path(path)) for path in own.config]
    flags = [flag for config, _ in configs for flag in ("--config", config)]
    parsed = parser.parse_args([*flags, *rest])
    subject: dict[str, Any] = {}
    for _, from_config in configs:
        subject |= from_config
    folder = _photos_folder(own.folder, subject)
    output = _output_folder(own.output, folder, subject, own.folder is None)
    return _prepare(parser.instantiate_classes(parsed), folder, output)


def _own_options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--config", action="append", default=[])
    return parser


def _parts_parser() -> OneLineParser:
    parser = OneLineParser(
        prog="idgen prepare",
        description=_DESCRIPTION,
        usage="idgen prepare [FOLDER] [--output DIR] [--config FILE ...] [--KEY VALUE ...]",
        epilog="FOLDER holds the photos; the prepared subject goes to DIR/NAME, NAME being "
        "FOLDER's (DIR is 'prepared' by default). --config takes a training config, whose "
        "backbone, preparation and subject it reads; it may be given several times.",
    )
    parser.add_argument("--config", action="config", help="A training config, such as base.yaml.")
    parser.add_argument(
        "--backbone",
        type=Backbone,
        default={"class_path": f"{StableDiffusionBackbone.__module__}.StableDiffusionBackbone"},
        help="Whose autoencoder makes the latents.",
    )
    parser.add_class_arguments(Preparation, "preparation", sub_configs=True)
    return parser


def yaml_of_parts(path: Path) -> tuple[str, dict[str, Any]]:
    """Of a training config, what preparation needs.

    Args:
        path: The YAML file.

    Returns:
        YAML with the keys `backbone` and `preparation`, and the subject's settings.

    Raises:
        UserError: If the file cannot be read.
    """
    try:
        config = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--config: cannot read {path} ({error})") from error
    config = config if isinstance(config, dict) else {}
    model, data = config.get("model") or {}, config.get("data") or {}
    parts = {"backbone": model.get("backbone"), "preparation": data.get("preparation")}
    kept = {key: value for key, value in parts.items() if value is not None}
    return yaml.safe_dump(kept), data.get("subject") or {}


def _photos_folder(given: Path | None, subject: dict[str, Any]) -> Path:
    if given is not None:
        return given
    photos = subject.get("photos")
    if photos is None:
        raise UserError("name a folder of photos: idgen prepare FOLDER --output DIR")
    from idgen.data.subject import Subject

    return Subject(photos, class_noun="").photos_folder


def _output_folder(
    output: Path | None, folder: Path, subject: dict[str, Any], from_config: bool
) -> Path:
    if output is None and from_config and subject.get("prepared"):
        return Path(subject["prepared"]).expanduser()
    return (output or Path("prepared")) / folder.resolve().name


def _prepare(parts: Namespace, folder: Path, output: Path) -> int:
    preparation: Preparation = parts.preparation
    backbone: Backbone = parts.backbone
    encoder: ImageEncoder = preparation.image_encoder
    if encoder.width != backbone.width:
        raise UserError(
            f"--preparation.image_encoder: its width {encoder.width} is not the backbone's "
            f"{backbone.width}; use the image twin of its text encoder"
        )
    photos = find_photos(folder)
    if preparation.is_fresh(folder, output, backbone):
        print(f"{output} is up to date: {len(photos)} photos")
        return 0
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    preparation.run(folder, output, backbone, device)
    print(f"prepared {len(photos)} photos in {output}; look at {output / 'contact_sheet.png'}")
    return 0
