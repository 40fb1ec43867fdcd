"""What a run's config is refused for before any weights are loaded."""

import os
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from idgen.backbones.backbone import Backbone
from idgen.commands.parser import OneLineParser
from idgen.data.subject import Subject
from idgen.errors import UserError
from idgen.evaluation.recorder import check_output
from idgen.files import check_writable
from idgen.prepare import Preparation, find_photos, read_photo
from idgen.prepare.store import Store

_RUN_KEY = "--trainer.default_root_dir"


def check_folders(config: Namespace, command: str) -> None:
    """Refuses folders that hold another run or other drawings, or cannot be written.

    Args:
        config: The run's, its folder settled.
        command: `fit`, `validate`, `test` or `predict`.

    Raises:
        UserError: If one cannot be used.
    """
    if int(os.environ.get("LOCAL_RANK", "0")) > 0:
        return
    root = Path(config.trainer.default_root_dir)
    output = config.drawings.output
    if command == "fit":
        given = config.checkpoint.dirpath
        checkpoints = root / "checkpoints" if given is None else Path(str(given)).absolute()
        _check_run_folder(root, checkpoints, config.ckpt_path)
    elif output is not None and command != "validate":
        check_output(Path(str(output)))
    else:
        check_writable(root, _RUN_KEY)


def check_precision(config: Namespace) -> None:
    """Refuses precisions in which what is trained would be rounded.

    Args:
        config: The run's.

    Raises:
        UserError: If it is half precision throughout.
    """
    precision = str(config.trainer.precision)
    for half, mixed in (("bf16-true", "bf16-mixed"), ("16-true", "16-mixed")):
        if precision == half:
            raise UserError(
                f"--trainer.precision {half} casts what is trained too, which stays in float32: "
                f"take {mixed}"
            )


def check_photos(config: Namespace, command: str) -> None:
    """Checks the photos, and that each can have a mask; for `predict`, the reference photo alone.

    The parts are built twice, here without the model: it loads its weights when it is built.

    Args:
        config: The run's.
        command: `fit`, `validate`, `test` or `predict`.

    Raises:
        UserError: If photos or masks cannot be used, or the prepared subject's folder holds
            something else.
    """
    data = config.data
    if command == "predict":
        if data.reference is not None:
            read_photo(Path(str(data.reference)))
        return
    subject = Subject(**vars(data.subject))
    preparation = _built("preparation", Preparation, data.preparation) or Preparation()
    if command == "fit":
        _check_prepared_folder(subject.prepared_folder)
    # Before the backbone, which may have to be downloaded.
    photos = None if preparation.skip_bad else find_photos(subject.photos_folder)
    backbone = _built("backbone", Backbone, config.model.backbone)
    if photos is None:
        preparation.find(subject.photos_folder, backbone)
    else:
        preparation.segmenter_for(backbone).check(photos)


def _built(name: str, kind: type, settings: Any) -> Any:
    parser = OneLineParser()
    parser.add_argument(f"--{name}", type=kind | None)
    part = parser.instantiate_classes(Namespace({name: settings}))  # type: ignore[no-untyped-call]
    return part[name]


def _check_prepared_folder(folder: Path) -> None:
    store = Store(folder)
    store.check()
    # One that is complete need not be written.
    if not store.is_ours():
        check_writable(folder, "--data.subject.prepared")


def _check_run_folder(root: Path, checkpoints: Path, ckpt_path: Any) -> None:
    resumed = () if ckpt_path is None else Path(str(ckpt_path)).absolute().parents
    has_scores = (root / "validation" / "scores.csv").exists()
    has_checkpoints = any(checkpoints.glob("*.ckpt"))
    if (has_scores or has_checkpoints) and root not in resumed and checkpoints not in resumed:
        last = checkpoints / "last.ckpt"
        resume = f", or resume it with --ckpt_path {last}" if last.exists() else ""
        raise UserError(
            f"{checkpoints if has_checkpoints else root} holds another run; choose a new folder "
            f"with {_RUN_KEY}{resume}"
        )
    for folder in (root, root / "validation"):
        check_writable(folder, _RUN_KEY)
    check_writable(checkpoints, "--checkpoint.dirpath")
