"""Whether a fit's photos are those of several subjects, a folder each."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from idgen.errors import UserError
from idgen.prepare import MaskFiles, find_subjects
from idgen.prepare.kohya_folders import kohya_root
from idgen.prepare.subject_folders import holds_photos

_MINI = "mini:"
_KEY = "--data.subject.photos"


class SeveralSubjects(Exception):
    """Raised in place of a run: the photos are those of several subjects.

    Attributes:
        config: The whole config, plain values.
        folders: The folder of each subject's photos.
    """

    def __init__(self, config: dict[str, Any], folders: Sequence[Path]) -> None:
        """Takes what a run for each of them is made from."""
        super().__init__(f"{len(folders)} subjects")
        self.config, self.folders = config, list(folders)


def find_several(config: Namespace) -> list[Path]:
    """Finds the subjects that a config's photos stand for, as `idgen prepare` does.

    Args:
        config: Of `fit`, as it was parsed.

    Returns:
        The folder of each one's photos, sorted; empty where they are one subject's.

    Raises:
        UserError: If photos lie beside folders of photos, none of the folders holds a photo, or a
            checkpoint is given, which is one subject's.
    """
    photos = config.data.subject.photos
    masks = _masks_folder(config.data.preparation)
    inner = inner_folders(photos, masks)
    if not inner:
        return []
    if config.ckpt_path is not None:
        raise UserError(
            f"--ckpt_path: {photos} holds a folder for each of several subjects ({_KEY}), which "
            "have runs of their own; leave it out, or name one subject's folder"
        )
    found = [one for path in inner for one in find_subjects(path, masks)]
    whole = [path for path in found if holds_photos(path)]
    if not whole:
        raise UserError(f"{_KEY}: there is no photo in {photos}, nor in a folder in it")
    for path in found:
        if path not in whole:
            warnings.warn(f"{path} holds no photos and is passed over", stacklevel=2)
    return whole


def inner_folders(photos: str, masks: Path | None = None) -> list[Path]:
    """The folders that stand for a subject each; none where photos are one subject's.

    Args:
        photos: As a config has it.
        masks: The folder that masks are taken from, if they are.

    Raises:
        UserError: If photos lie beside folders of photos.
    """
    folder = Path(photos).expanduser()
    # A kohya root of one is that one's; what is no folder is refused by whoever reads the photos.
    if photos.startswith(_MINI) or not folder.is_dir() or len(kohya_root(folder)) == 1:
        return []
    found = find_subjects(folder, masks)
    return [] if found == [folder] else found


def _masks_folder(preparation: Namespace | None) -> Path | None:
    """The folder that masks are taken from, which is no subject's."""
    # A stored config names the class of the preparation, another one need not.
    values = None if preparation is None else preparation.get("init_args", preparation)
    segmenter = None if values is None else values.get("segmenter")
    if segmenter is None:
        return None
    name = str(segmenter.get("class_path")).rpartition(".")[2]
    return (
        Path(str(segmenter.init_args.folder)).expanduser() if name == MaskFiles.__name__ else None
    )
