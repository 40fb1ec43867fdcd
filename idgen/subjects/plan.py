"""From a config and folders of photos to cells: a fit and a test for each subject."""

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idgen.benchmark.cell import RECORD, Cell, Step, difference, read_json
from idgen.benchmark.config import folder_name
from idgen.benchmark.plan import without_places
from idgen.benchmark.verify import check_scores, check_weights
from idgen.errors import UserError
from idgen.files import check_writable
from idgen.prepare import subject_name
from idgen.prepare.kohya_folders import kohya_folder
from idgen.prepare.segmenters.class_noun import NOUN_FILE, noun_beside
from idgen.runs.folder import ROOT_KEY, RunFolder
from idgen.runs.freezing import ConfigReader
from idgen.runs.stored import as_yaml, make_paths_absolute

TABLE = "subjects.csv"
CELLS = ".cells"
"""Where in the root folder logs and records lie; no subject's folder is hidden."""
_PHOTOS = "--data.subject.photos"


@dataclass(frozen=True)
class SubjectRun:
    """One subject's run.

    Attributes:
        name: The name of its folder of photos.
        class_noun: What it is.
        folder: The run's folder.
        cell: What runs.
    """

    name: str
    class_noun: str
    folder: Path
    cell: Cell


def plan_subjects(
    config: Mapping[str, Any], folders: Sequence[Path], test: bool
) -> list[SubjectRun]:
    """Makes a run of each subject, and checks all that can be before any work; loads nothing.

    Args:
        config: The whole config, plain values; its photos are not looked at.
        folders: The folder of each subject's photos.
        test: Whether each run is tested once it is trained.

    Raises:
        UserError: If something cannot be run, two would have one folder, or a folder holds another
            run.
    """
    root = Path(config["trainer"]["default_root_dir"])
    _check_config(config, root)
    named = _run_folders(folders, root)
    nouns = {path: _noun(path, config["data"]["subject"]["class_noun"]) for path in folders}
    configs = {path: _of_subject(config, path, nouns[path], named[path]) for path in folders}
    reader = ConfigReader()
    reader.build(reader.read([as_yaml(configs[folders[0]])], {})).check_settings()
    runs = []
    for path in folders:
        cell = _cell(subject_name(path), configs[path], path, root, test)
        _check_same(named[path], cell)
        runs.append(SubjectRun(subject_name(path), nouns[path], named[path], cell))
    return runs


def _check_config(config: Mapping[str, Any], root: Path) -> None:
    """Refuses settings that runs of several subjects cannot have, and a folder they cannot."""
    trainer = config["trainer"]
    reasons = {
        "trainer.fast_dev_run": trainer["fast_dev_run"] and "it leaves no checkpoint",
        "trainer.num_nodes": trainer["num_nodes"] > 1 and "each runs on one machine",
        "checkpoint.dirpath": config["checkpoint"]["dirpath"] and "all of them would share it",
    }
    for key, reason in reasons.items():
        if reason:
            raise UserError(f"--{key}: with several subjects, {reason}; leave it out")
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UserError(
            f"{_PHOTOS}: several subjects are trained by commands of their own; start this one "
            "alone, without torchrun (WORLD_SIZE is set)"
        )
    if RunFolder.of(str(root), None).is_used:
        raise UserError(f"{root} holds one subject's run; choose a new folder with {ROOT_KEY}")
    check_writable(root, ROOT_KEY)


def _run_folders(folders: Sequence[Path], root: Path) -> dict[Path, Path]:
    """The folder of each subject's run; refused if two are the same."""
    seen: dict[str, Path] = {}
    for path in folders:
        name = folder_name(subject_name(path))
        # Letters of another case are no other folder everywhere.
        other = seen.setdefault(name.lower(), path)
        if other is not path:
            raise UserError(
                f"{_PHOTOS}: the runs of {str(other)!r} and {str(path)!r} would have one folder, "
                f"{root / name}; rename one"
            )
        if name in ("-", "lock", TABLE):
            raise UserError(f"{_PHOTOS}: {str(path)!r} cannot be a run's name; rename it")
    return {path: root / folder_name(subject_name(path)) for path in folders}


def _noun(folder: Path, common: str) -> str:
    """A subject's own noun, else that of all."""
    kohya = kohya_folder(folder)
    noun = noun_beside(folder) or ("" if kohya is None else kohya.noun) or common.strip()
    if not noun:
        raise UserError(
            f"--data.subject.class_noun: say what the photos in {folder} show, such as dog: in "
            f"{NOUN_FILE} there, or for all with this option"
        )
    return noun


def _of_subject(
    config: Mapping[str, Any], photos: Path, class_noun: str, folder: Path
) -> dict[str, Any]:
    """A copy of the config for one subject."""
    own: dict[str, Any] = json.loads(json.dumps(config))
    make_paths_absolute(own)
    subject, companion = own["data"]["subject"], own["data"].get("companion")
    prepared = Path(subject["prepared"] or "prepared").expanduser()
    subject |= {
        "photos": str(photos.absolute()),
        "class_noun": class_noun,
        "prepared": str((prepared / subject_name(photos)).absolute()),
    }
    if companion and not companion["photos"].startswith("mini:"):
        companion["photos"] = str(Path(companion["photos"]).expanduser().absolute())
    own["trainer"] |= {"default_root_dir": str(folder), "enable_progress_bar": False}
    return own


def _cell(name: str, config: dict[str, Any], photos: Path, root: Path, test: bool) -> Cell:
    folder = Path(config["trainer"]["default_root_dir"])
    own = root / CELLS / folder.name
    record = {
        "config": without_places(config),
        "prompts": config["data"]["test_prompts"],
        "photos": _digests(photos),
    }
    path, last = own / "config.yaml", folder / "checkpoints" / "last.ckpt"
    given = ("--config", str(path))
    # Only a run that was begun here is gone on with; of another one, fit says what it is.
    begun = read_json(own / RECORD) is not None
    fit = Step(
        "fit", _idgen("fit", *given), last, checkpoint=last if begun else None, verify=check_weights
    )
    drawn = folder / "test"
    command = _idgen("test", f"--ckpt_path={last}", *given, f"--drawings.output={drawn}")
    draw = Step("test", command, drawn / "metrics.json", drawn, verify=check_scores)
    steps = (fit, draw) if test else (fit,)
    return Cell(name, own, record, steps, {path: as_yaml(config)}, beside=(folder,))


def _idgen(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "idgen", *arguments)


def _digests(photos: Path) -> dict[str, str]:
    """Of all that lies beside the photos too: masks, captions, point prompts."""
    files = sorted(p for p in photos.iterdir() if p.is_file() and not p.name.startswith("."))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in files}


def _check_same(folder: Path, cell: Cell) -> None:
    """Refuses a run of other photos or settings, which would be gone on with as if it were this."""
    earlier = read_json(cell.folder / RECORD)
    if not RunFolder.of(str(folder), None).is_used:
        return
    if earlier is None:
        raise UserError(
            f"{folder} holds a run that was not begun by this command; choose a new folder with "
            f"{ROOT_KEY}, or delete that one"
        )
    differing = difference(earlier, json.loads(json.dumps(cell.record)))
    if differing is not None:
        raise UserError(
            f"{folder} holds another run ({differing}); choose a new folder with {ROOT_KEY}, or "
            f"delete that one to run it anew"
        )
