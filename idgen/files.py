"""Files that are either whole or not there."""

import os
import secrets
import shutil
from pathlib import Path

from idgen.errors import UserError

_LEAST_FREE = 64 << 20
TEMPORARY_PREFIX = ".tmp-"


def atomic_write(path: Path, content: bytes) -> None:
    """Replaces a file as a whole: a killed process leaves the old one, or none.

    The content goes to a temporary file in the same folder, which is flushed to the disk and then
    renamed. A process killed meanwhile leaves a file `.tmp-*` there, which may be deleted.

    Args:
        path: The file to write; its folder has to exist.
        content: All of it.

    Raises:
        OSError: If the folder cannot be written or the disk is full.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")
    try:
        # Not the tempfile module: its files are private to the user, and so would the result be.
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)


def remove_temporary(folder: Path) -> None:
    """Removes what killed processes left half written; no other may be writing there."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        if path.is_file():
            path.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Makes a rename in a folder last through a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_writable(folder: Path, key: str) -> None:
    """Refuses a folder that cannot be written, without creating anything.

    Args:
        folder: Existing or not.
        key: The option that named it.

    Raises:
        UserError: If its nearest existing parent is no folder, may not be written, or is full.
    """
    existing = folder.absolute()
    try:
        while not existing.exists() and existing != existing.parent:
            existing = existing.parent
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror}); change {key}") from error
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        reason = "may not be written" if existing.is_dir() else "is no folder"
        raise UserError(f"cannot write to {folder}: {existing} {reason}; change {key}")
    free = shutil.disk_usage(existing).free
    if free < _LEAST_FREE:
        raise UserError(
            f"cannot write to {folder}: {free >> 20} MiB are free there, "
            f"{_LEAST_FREE >> 20} are needed; free some, or change {key}"
        )


def check_output(folder: Path) -> None:
    """Raises a UserError if a folder for drawings holds anything, or cannot be written."""
    check_writable(folder, "drawings.output (--out)")
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty; name a new folder for the drawings")
