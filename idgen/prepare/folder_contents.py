"""What lies in a folder of photos beside the photos, told by its name."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from idgen.errors import UserError

_NOTES = frozenset({".txt", ".yaml", ".yml", ".md", ".json"})
"""Read, or written, by people and idgen itself; nothing is said of them."""
_OTHERS = frozenset(
    {
        *(".mov", ".mp4", ".m4v", ".avi", ".3gp"),  # videos, a Live Photo's half among them
        *(".aae", ".xmp", ".pp3", ".thm", ".thumb", ".lrprev"),  # what photo programs note
        *(".caption", ".jsonl", ".csv", ".npz", ".npy", ".safetensors", ".toml"),
        *(".ini", ".db", ".log", ".bak", ".tmp", ".part", ".crdownload", ".zip"),
    }
)
_SYSTEM = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"})
_SYSTEM_FOLDERS = frozenset({"__macosx", "@eadir", "$recycle.bin", "system volume information"})
_THUMBNAIL = re.compile(r"(?P<of>.+)[._-](?:thumb|thumbnail)\.[a-z]+", re.IGNORECASE)


def visible_entries(folder: Path) -> list[Path]:
    """Files and folders that may be photos or hold some, sorted by name.

    Hidden ones, a system's own, notes and what `passed_over` names are left out.

    Raises:
        UserError: If there is no such folder, or it cannot be read.
    """
    paths = _entries(folder)
    over = set(_others(paths))
    return [path for path in paths if not _ignored(path) and path not in over]


def passed_over(folder: Path) -> str:
    """What is left out and worth a word, such as `2 .mov, 1 .aae`; empty if there is nothing.

    Raises:
        UserError: If there is no such folder, or it cannot be read.
    """
    paths = [path for path in _entries(folder) if not _ignored(path)]
    kinds = Counter(
        path.suffix.lower() if path.suffix.lower() in _OTHERS else "thumbnail"
        for path in _others(paths)
    )
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))


def _entries(folder: Path) -> list[Path]:
    try:
        if not folder.exists():
            raise UserError(f"no folder {folder}; give the folder that holds the subject's photos")
        if not folder.is_dir():
            raise UserError(f"{folder} is a file; give the folder that holds the subject's photos")
        return sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise UserError(
            f"cannot read the folder {folder} ({error.strerror}): change its permissions"
        ) from error


def _ignored(path: Path) -> bool:
    """Whether it is hidden, a system's own, or a note, of which nothing is said."""
    name = path.name.lower()
    if name.startswith(".") or name in _SYSTEM:
        return True
    if os.path.isdir(path):
        return name in _SYSTEM_FOLDERS
    return path.suffix.lower() in _NOTES


def _others(paths: Sequence[Path]) -> list[Path]:
    """Files of other kinds, and thumbnails whose photo lies beside them."""
    files = [path for path in paths if not os.path.isdir(path)]
    names = {path.stem.lower() for path in files} | {path.name.lower() for path in files}
    found = []
    for path in files:
        match = _THUMBNAIL.fullmatch(path.name)
        thumbnail = match is not None and match["of"].lower() in names
        if path.suffix.lower() in _OTHERS or thumbnail:
            found.append(path)
    return found
