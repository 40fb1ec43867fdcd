"""Whether a folder is one subject's photos, or holds a folder for each of several."""

import os
from pathlib import Path

from PIL import Image

from idgen.errors import UserError
from idgen.prepare.folder_contents import visible_entries
from idgen.prepare.photos import opened_picture
from idgen.prepare.store import Store

_SHOWN = 3


def find_subjects(folder: Path, masks: Path | None = None) -> list[Path]:
    """Finds the folders of photos that a folder stands for.

    Photos directly inside make it one subject, and folders without photos beside them are passed
    over. Otherwise each of its sub-folders is a subject, but for hidden ones, for links that lead
    back to where they lie, for prepared subjects (an output folder may lie inside), and for the
    folder of masks.

    Args:
        folder: A folder of photos, or of such folders.
        masks: The folder that the segmenter takes masks from, if it takes any.

    Returns:
        The folder itself, or its sub-folders, sorted by name.

    Raises:
        UserError: If there is no such folder, or it holds photos beside folders of photos.
    """
    entries = visible_entries(folder)
    photos = [path for path in entries if _looks_like_a_photo(path)]
    inner = [
        path
        for path in entries
        if os.path.isdir(path)
        and not _leads_back(path)
        and not _is_output(path)
        and (masks is None or path.resolve() != masks.resolve())
    ]
    if not photos:
        return inner or [folder]
    mixed = [path for path in inner if holds_photos(path)]
    if mixed:
        raise UserError(
            f"{str(folder)!r} holds photos ({_names(photos)}) beside folders of photos "
            f"({_names(mixed)}): give a folder of one subject's photos, or one that holds "
            "nothing but a folder for each subject"
        )
    return [folder]


def _looks_like_a_photo(path: Path) -> bool:
    """By its suffix, so that a damaged one counts, else by its first bytes."""
    if os.path.isdir(path):
        return False
    if path.suffix.lower() in {".heic", ".heif", *Image.registered_extensions()}:
        return True
    if not os.path.isfile(path):
        return False
    try:
        with opened_picture(path):
            return True
    except Exception:  # decoders raise all kinds on what is no image
        return False


def holds_photos(folder: Path) -> bool:
    """Whether photos lie directly in a folder."""
    try:
        return any(_looks_like_a_photo(path) for path in visible_entries(folder))
    except UserError:
        return False


def _leads_back(folder: Path) -> bool:
    """Whether a folder is a circular link."""
    here, there = folder.parent.resolve(), folder.resolve()
    return os.path.islink(folder) and (there == here or there in here.parents)


def _is_output(folder: Path) -> bool:
    """Whether it is a prepared subject, or holds nothing but such."""
    if Store(folder).is_ours():
        return True
    try:
        inner = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError:
        return False
    return bool(inner) and all(os.path.isdir(path) and Store(path).is_ours() for path in inner)


def _names(paths: list[Path]) -> str:
    more = [f"and {len(paths) - _SHOWN} more"] if len(paths) > _SHOWN else []
    return ", ".join([*(repr(path.name) for path in paths[:_SHOWN]), *more])
