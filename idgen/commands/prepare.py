"""`idgen prepare`: photos to a prepared subject, by hand or from a training config."""

import argparse
import difflib
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from inspect import signature
from itertools import product
from pathlib import Path
from typing import Any, NoReturn

import torch
import yaml
from jsonargparse import Namespace

from idgen.backbones.backbone import Backbone
from idgen.backbones.stable_diffusion import StableDiffusionBackbone
from idgen.commands.summary import peak_memory, print_summary
from idgen.data.datamodule import SubjectDataModule
from idgen.data.subject import Subject
from idgen.errors import UserError, printable
from idgen.module import PersonalizationModule
from idgen.prepare import MaskFiles, Outcome, Preparation, find_subjects, subject_name
from idgen.prepare.store import CONTACT_PAGE
from idgen.runs.building import note_parts
from idgen.runs.parser import OneLineParser, keys_in_errors, one_line_errors
from idgen.runs.quiet import quieten
from idgen.runs.reading import check_kind, nested
from idgen.runs.stored import STORED
from idgen.yaml_texts import read_yaml

Subjects = dict[str, dict[str, Any]]
"""The settings of a config's subjects by their keys, empty where there is none."""

_OUTPUT = Path("prepared")
_SUBJECTS = ("subject", "companion")
# Of a training config; what preparation has no use for is passed over.
_SECTIONS = (*STORED, "ckpt_path")
_DESCRIPTION = (
    "Turns a folder of photos, or a folder of such folders, into prepared subjects: masks, "
    "backgrounds without the subject, features, and contact_sheet.html to look at. Only what is "
    "missing or stale is computed."
)

_EPILOG = (
    "FOLDER holds one subject's photos, or a folder of photos for each subject. A prepared "
    "subject goes to DIR/NAME, NAME being its folder's (DIR is 'prepared' by default). A subject "
    "that fails does not stop the others; the exit code is 2 then. --skip-bad leaves out photos "
    "that cannot be used, or of which nothing can be made; without it such a photo stops its "
    "subject, before any work where that shows it. --config takes a training config, whose "
    "backbone, preparation and subject it reads; it may be given several times."
)


def run_prepare(options: Sequence[str]) -> int:
    """Runs the offline preparation, and returns the exit code.

    Raises:
        UserError: For anything the user can mend.
    """
    configs, rest = _configs(options)
    parser = _parser()
    flags = [flag for config, _ in configs for flag in ("--config", config)]
    parsed = parser.parse_args([*flags, *rest])
    subjects = {
        name: {key: value for _, own in configs for key, value in own[name].items()}
        for name in _SUBJECTS
    }
    note_parts(parser)
    with keys_in_errors(lambda: parsed):
        with one_line_errors():
            parts = parser.instantiate_classes(parsed)
        parts.preparation.skip_bad |= parsed.skip_bad
        return _prepare(parts, subjects)


def _prepare(parts: Namespace, subjects: Subjects) -> int:
    for name, given in (("FOLDER", parts.folder), ("--output", parts.output)):
        if given is not None and not given.strip():
            raise UserError(f"{name} is blank; name a folder")
    output = None if parts.output is None else Path(parts.output).expanduser()
    if parts.folder is None:
        named = [subjects["subject"], *filter(None, [subjects["companion"]])]
        read = [_subject_of_config(subject) for subject in named]
        for subject, settings in zip(read, named, strict=True):
            parts.preparation.look_for(subject.class_noun)
            _prepare_one(parts, subject.photos_folder, output, settings)
        return 0
    folder = Path(parts.folder).expanduser()
    segmenter = parts.preparation.segmenter
    masks = segmenter.folder if isinstance(segmenter, MaskFiles) else None
    folders = find_subjects(folder, masks)
    if folders == [folder]:
        return _prepare_one(parts, folder, output)
    return _prepare_many(parts, folders, masks, output or _OUTPUT)


class _ConfigOption(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see idgen prepare --help")


def _configs(options: Sequence[str]) -> tuple[list[tuple[str, Subjects]], list[str]]:
    """What preparation needs of the training configs, and the other options."""
    parser = _ConfigOption(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", action="append", default=[])
    given, rest = parser.parse_known_args(list(options))
    return [yaml_of_parts(Path(path)) for path in given.config], rest


def _parser() -> OneLineParser:
    parser = OneLineParser(
        prog="idgen prepare",
        description=_DESCRIPTION,
        usage="idgen prepare [FOLDER] [--output DIR] [--skip-bad] [--config FILE ...] "
        "[--KEY VALUE ...]",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "folder", nargs="?", type=str, metavar="FOLDER", help="Photos, or folders of photos."
    )
    parser.add_argument("--output", type=str, metavar="DIR", help="Where prepared subjects go.")
    parser.add_argument(
        "--skip-bad", action="store_true", help="Leave out photos that cannot be used."
    )
    parser.add_argument("--config", action="config", help="A training config, such as base.yaml.")
    parser.add_argument(
        "--backbone",
        type=Backbone,
        default={"class_path": f"{StableDiffusionBackbone.__module__}.StableDiffusionBackbone"},
        help="Whose autoencoder makes the latents.",
    )
    parser.roots.append(Backbone)
    parser.add_class_arguments(Preparation, "preparation", sub_configs=True)
    return parser


def yaml_of_parts(path: Path) -> tuple[str, Subjects]:
    """Of a training config, what preparation needs.

    Returns:
        YAML with the keys `backbone` and `preparation`, and the settings of each subject.

    Raises:
        UserError: If the file cannot be read, a key is unknown, or one that is needed holds
            something else.
    """
    held = read_yaml(path, "--config")
    config = nested({} if held is None else held, f"--config: {path}")
    check_kind(config, str(path), {"model", "data"})
    model, data = _mapping(path, config, "model"), _mapping(path, config, "data")
    subjects = {name: _mapping(path, data, name, within="data.") for name in _SUBJECTS}
    _check_keys(path, config, _SECTIONS)
    _check_keys(path, model, signature(PersonalizationModule).parameters, "model.")
    _check_keys(path, data, signature(SubjectDataModule).parameters, "data.")
    for name, subject in subjects.items():
        _check_keys(path, subject, signature(Subject).parameters, f"data.{name}.")
    preparation = data.get("preparation")
    if isinstance(preparation, dict) and "class_path" in preparation:
        # So a run's saved config names it; its class is not in question.
        preparation = preparation.get("init_args")
    parts = {"backbone": model.get("backbone"), "preparation": preparation}
    kept = {key: value for key, value in parts.items() if value is not None}
    for name, key in product(subjects, ("photos", "prepared")):
        value = subjects[name].get(key)
        if value is not None and not isinstance(value, str):
            raise UserError(f"--config: {path}: data.{name}.{key} has to be a path, not {value!r}")
    return yaml.safe_dump(kept), subjects


def _check_keys(path: Path, held: Iterable[str], known: Collection[str], within: str = "") -> None:
    """Refuses keys that no training config has, which would be passed over."""
    for key in held:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"; did you mean {within}{near[0]}?" if near else ""
            raise UserError(f"--config: {path}: there is no key {within}{key}{hint}")


def _mapping(path: Path, parent: Mapping[str, Any], key: str, within: str = "") -> dict[str, Any]:
    """What a key of a config holds, empty where it is not set."""
    found = parent.get(key)
    if found is not None and not isinstance(found, dict):
        raise UserError(
            f"--config: {path}: {within}{key} has to hold keys of its own, not {found!r:.80}"
        )
    return found or {}


def _subject_of_config(subject: dict[str, Any]) -> Subject:
    photos, noun = subject.get("photos"), subject.get("class_noun")
    if photos is None:
        raise UserError("name a folder of photos: idgen prepare FOLDER --output DIR")
    return Subject(photos, class_noun=noun if isinstance(noun, str) else "")


def _prepare_one(
    parts: Namespace, folder: Path, into: Path | None, subject: dict[str, Any] | None = None
) -> int:
    if into is None and subject is not None and subject.get("prepared"):
        output = Path(subject["prepared"]).expanduser()
    else:
        output = (into or _OUTPUT) / subject_name(folder)
    [outcome] = _run(parts, [(folder, output)])
    if outcome.error is not None:
        raise outcome.error
    if not outcome.made:
        print(printable(f"{output} is up to date: {outcome.photos} photos"))
    else:
        wrong = f", where {outcome.warnings} look wrong" if outcome.warnings else ""
        done = f"prepared {outcome.photos} photos in {output}; look at {output / CONTACT_PAGE}"
        print(printable(f"{done}{wrong} ({peak_memory()})"))
    return 0


def _prepare_many(parts: Namespace, folders: Sequence[Path], masks: Path | None, into: Path) -> int:
    pairs: list[tuple[Path, Path]] = []
    refused = []
    for folder in folders:
        output = into / subject_name(folder)
        try:
            # As it would be if it were given alone.
            pairs += [(one, into / subject_name(one)) for one in find_subjects(folder, masks)]
        except UserError as error:
            refused.append(Outcome(subject_name(folder), output, 0, 0, 0, error))
    outcomes = [*_run(parts, pairs), *refused]
    print_summary(outcomes)
    failed = sum(outcome.error is not None for outcome in outcomes)
    whole = len(outcomes) - failed
    subjects = "1 subject" if whole == 1 else f"{whole} subjects"
    done = f"{subjects} in {into}; look at SUBJECT/{CONTACT_PAGE} there"
    print(printable(f"{done} ({peak_memory()})"))
    if failed:
        print(f"idgen prepare: error: {failed} of {len(outcomes)} subjects failed", file=sys.stderr)
    return 2 if failed else 0


def _run(parts: Namespace, subjects: Sequence[tuple[Path, Path]]) -> list[Outcome]:
    preparation: Preparation = parts.preparation
    quieten()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return preparation.run_all(subjects, parts.backbone, device)
