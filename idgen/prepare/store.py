"""The prepared subject's folder on disk: keyed files, written whole, one writer at a time."""

import errno
import fcntl
import io
import json
import logging
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from idgen.errors import UserError
from idgen.files import TEMPORARY_PREFIX, atomic_write
from idgen.prepare.features import features_key
from idgen.prepare.opened_picture import opened_picture

Kind: TypeAlias = Literal["masks", "backgrounds", "features"]
KINDS: Final[tuple[Kind, ...]] = ("masks", "backgrounds", "features")
INDEX = "index.json"
CONTACT_SHEET = "contact_sheet.png"
CONTACT_PAGE = "contact_sheet.html"
FORMAT = "idgen prepared subject 1"
PNG_KEY = "idgen-key"
_LOCK = ".idgen-prepare.lock"
_MOVING = ".moving-"
_SUFFIX: Final[dict[Kind, str]] = {
    "masks": ".png",
    "backgrounds": ".png",
    "features": ".safetensors",
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredFile:
    """A file of the folder and the key it was made under; None if it is none of ours."""

    path: Path
    key: str | None


class Store:
    """One subject's folder.

    Attributes:
        folder: Where it lies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, kind: Kind, name: str) -> Path:
        """Where a mask, a background or a features file lies, by its name without suffix."""
        return self.folder / kind / f"{name}{_SUFFIX[kind]}"

    def is_ours(self) -> bool:
        """Whether it is a prepared subject, complete or not."""
        return os.path.exists(self.folder / _LOCK) or self.read_index() is not None

    def check(self) -> None:
        """Refuses a folder that holds anything but a prepared subject.

        Raises:
            UserError: If it does, if it is a file, or if its parts are links to other places.
        """
        shown = repr(str(self.folder))
        with _explained(self.folder):
            if not self.folder.exists() and not self.folder.is_symlink():
                return
            if not self.folder.is_dir():
                raise UserError(f"output {shown} is not a folder: give another one")
            names = {entry.name for entry in self.folder.iterdir()}
        visible = {name for name in names if not name.startswith(".")}
        if visible and self.read_index() is None and _LOCK not in names:
            raise UserError(
                f"output folder {shown} holds other files and no prepared subject: "
                "give an empty or a new folder"
            )
        for part in (self.folder / kind for kind in KINDS):
            with _explained(part):
                if part.is_symlink() or (part.exists() and not part.is_dir()):
                    raise UserError(f"{str(part)!r} is not a plain folder: remove it")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Makes the folder and keeps other writers out; waits while one is at work.

        Raises:
            UserError: If the folder cannot be written.
        """
        with _explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            # Before anything else: by this file the next run knows the folder for its own.
            lock = (self.folder / _LOCK).open("ab")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _log.warning("waiting for another run that prepares %r", str(self.folder))
                fcntl.flock(lock, fcntl.LOCK_EX)
            with _explained(self.folder):
                for kind in KINDS:
                    (self.folder / kind).mkdir(exist_ok=True)
                self._remove_unfinished()
            yield

    def _remove_unfinished(self) -> None:
        for folder in (self.folder, *(self.folder / kind for kind in KINDS)):
            for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
                path.unlink(missing_ok=True)

    def files(self, kind: Kind) -> list[StoredFile]:
        """All files of a kind, ours or not, sorted by name."""
        folder = self.folder / kind
        if not os.path.isdir(folder):
            return []
        read = features_key if kind == "features" else png_key
        with _explained(folder):
            return [
                StoredFile(path, read(path))
                for path in sorted(folder.iterdir())
                if path.is_file() and not path.name.startswith(TEMPORARY_PREFIX)
            ]

    def arrange(self, moves: Mapping[Path, Path]) -> None:
        """Moves files to the names their photos have now.

        Two photos may have exchanged their names, so every file steps aside first. A run killed
        in between loses nothing: files are found by their keys, whatever they are called.

        Args:
            moves: Old path to new path, in the same folder each.
        """
        aside: list[tuple[Path, Path]] = []
        with _explained(self.folder):
            for number, (path, target) in enumerate(moves.items()):
                waiting = path.with_name(f"{_MOVING}{secrets.token_hex(4)}-{number}{path.suffix}")
                os.replace(path, waiting)
                aside.append((waiting, target))
            for waiting, target in aside:
                os.replace(waiting, target)

    def remove(self, paths: Iterable[Path]) -> None:
        """Removes files of the folder."""
        with _explained(self.folder):
            for path in paths:
                path.unlink(missing_ok=True)

    def write(self, path: Path, content: bytes) -> None:
        """Writes a file of the folder atomically.

        Raises:
            UserError: If there is no space or no right to write.
        """
        with _explained(path):
            atomic_write(path, content)

    def read_index(self) -> dict[str, Any] | None:
        """The index, or None if there is none of ours."""
        try:
            index = json.loads((self.folder / INDEX).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(index, dict) or index.get("format") != FORMAT:
            return None
        return cast(dict[str, Any], index)


def png_bytes(pixels: NDArray[np.uint8], key: str) -> bytes:
    """A PNG file that carries the key it was made under.

    Args:
        pixels: `H W` or `H W 3`.
        key: The key.
    """
    text = PngInfo()
    text.add_text(PNG_KEY, key)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", pnginfo=text, compress_level=4)
    return buffer.getvalue()


def png_key(path: Path) -> str | None:
    """The key that a PNG file carries; None if it carries none. Reads its head only."""
    try:
        with opened_picture(path) as image:
            key = image.info.get(PNG_KEY)
    except Exception:  # anything wrong means: not one of ours
        return None
    return key if isinstance(key, str) else None


def is_whole_png(path: Path) -> bool:
    """Whether a file can be decoded to its end."""
    try:
        with opened_picture(path) as image:
            image.load()
    except Exception:  # decoders raise all kinds on damaged input
        return False
    return True


def read_png(path: Path, key: str) -> NDArray[np.uint8]:
    """Decodes a PNG file that has to carry a key.

    Returns:
        `H W` or `H W 3`.

    Raises:
        UserError: If it is missing, damaged, or carries another key.
    """
    if png_key(path) != key:
        raise UserError(stale(path))
    try:
        with opened_picture(path) as image:
            return np.array(image, dtype=np.uint8)
    except Exception as error:  # decoders raise all kinds on damaged input
        raise UserError(stale(path)) from error


def stale(path: Path) -> str:
    """The one line on a file that is not what the index says."""
    what = "is not what was prepared for its photo" if path.exists() else "is missing"
    return f"{str(path)!r} {what}: run idgen prepare again"


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns a refusal of the file system into one line with its mend."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            mend = "there is no space left: free some, then run it again"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            mend = "writing is not allowed: give another output folder"
        else:
            mend = f"{error.strerror or error}: give another output folder"
        raise UserError(f"cannot write {str(path)!r}: {mend}") from error
