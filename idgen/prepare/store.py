"""The prepared subject's folder on disk: files named by their keys, one writer at a time."""

import errno
import io
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import load, save
from torch import Tensor

from idgen.errors import UserError
from idgen.files import TEMPORARY_PREFIX, atomic_write
from idgen.locks import locked
from idgen.prepare.index import KINDS, PICTURES, Index, Kind
from idgen.prepare.photos import opened_picture

INDEX = "index.json"
CONTACT_PAGE = "contact_sheet.html"
_LOCK = ".idgen-prepare.lock"
_KEY = "idgen-key"
_NOTE = "idgen-note"
_DIGITS = 20
"""Of a key, in a file's name; the file carries all of it."""

_log = logging.getLogger(__name__)


class Store:
    """One subject's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, kind: Kind, key: str) -> Path:
        """Where the file of a kind and a key lies."""
        return self.folder / kind / f"{key[:_DIGITS]}{_suffix(kind)}"

    def index(self) -> Index | None:
        """The index; None if there is none, or none that can be used."""
        try:
            return Index.from_bytes((self.folder / INDEX).read_bytes())
        except OSError:
            return None

    def is_ours(self) -> bool:
        """Whether it is a prepared subject, complete or not."""
        return os.path.exists(self.folder / _LOCK) or self.index() is not None

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
            holds_any = any(not entry.name.startswith(".") for entry in self.folder.iterdir())
        if holds_any and not self.is_ours():
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
        with ExitStack() as held:
            with _explained(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
                # Before anything else: by this file the next run knows the folder for its own.
                held.enter_context(locked(self.folder / _LOCK, on_wait=self._say_that_it_waits))
                for folder in (self.folder, *(self.folder / kind for kind in KINDS)):
                    self.remove(folder.glob(f"{TEMPORARY_PREFIX}*"))
            yield

    def _say_that_it_waits(self) -> None:
        _log.warning("waiting for another run that prepares %r", str(self.folder))

    def files(self, kind: Kind) -> dict[Path, str | None]:
        """All files of a kind, ours or not, with the keys that they carry if they are ours."""
        folder = self.folder / kind
        if not os.path.isdir(folder):
            return {}
        read = _reader(kind)
        with _explained(folder):
            return {
                path: read(path)
                for path in sorted(folder.iterdir())
                if path.is_file() and not path.name.startswith(TEMPORARY_PREFIX)
            }

    def remove(self, paths: Iterable[Path]) -> None:
        """Removes files of the folder."""
        with _explained(self.folder):
            for path in paths:
                path.unlink(missing_ok=True)

    def write(self, path: Path, content: bytes) -> None:
        """Writes a file atomically; a UserError if there is no space or no right to write."""
        with _explained(path):
            path.parent.mkdir(exist_ok=True)
            atomic_write(path, content)


def _suffix(kind: Kind) -> str:
    if kind == "captions":
        return ".json"
    return ".png" if kind in PICTURES else ".safetensors"


def _reader(kind: Kind) -> Callable[[Path], str | None]:
    """What reads the key that a file of a kind carries."""
    if kind == "captions":
        return caption_key
    return png_key if kind in PICTURES else features_key


def png_bytes(pixels: NDArray[np.uint8], key: str, note: str = "") -> bytes:
    """A PNG file, of pixels `H W` or `H W 3`, that carries the key it was made under and a note."""
    text = PngInfo()
    text.add_text(_KEY, key)
    if note:
        text.add_itxt(_NOTE, note)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", pnginfo=text, compress_level=2)
    return buffer.getvalue()


def png_key(path: Path) -> str | None:
    """The key that a PNG file carries; None if it carries none. Reads its head only."""
    try:
        with opened_picture(path) as image:
            key = image.info.get(_KEY)
    except Exception:  # anything wrong means: not one of ours
        return None
    return key if isinstance(key, str) else None


def png_note(path: Path) -> str:
    """The note that a PNG file carries; empty if it carries none. Reads its head only."""
    try:
        with opened_picture(path) as image:
            return str(image.info.get(_NOTE, ""))
    except Exception as error:  # decoders raise all kinds on damaged input
        raise _stale(path) from error


def is_whole_png(path: Path) -> bool:
    """Whether a file can be decoded to its end."""
    try:
        with opened_picture(path) as image:
            image.load()
    except Exception:  # decoders raise all kinds on damaged input
        return False
    return True


def read_png(path: Path, key: str) -> NDArray[np.uint8]:
    """The pixels, `H W` or `H W 3`, of a PNG file; a UserError if it carries another key."""
    try:
        with opened_picture(path) as image:
            if image.info.get(_KEY) == key:
                return np.array(image, dtype=np.uint8)
    except Exception as error:  # decoders raise all kinds on damaged input
        raise _stale(path) from error
    raise _stale(path)


def caption_bytes(caption: str, key: str) -> bytes:
    """A JSON file, UTF-8, of what a captioner said and the key it was made under."""
    content = {_KEY: key, "caption": caption}
    return (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()


def caption_key(path: Path) -> str | None:
    """The key that a caption's file carries; None if it carries none, or is not whole."""
    try:
        return _read_caption(path)[1]
    except Exception:  # anything wrong means: not one of ours
        return None


def read_caption(path: Path, key: str) -> str:
    """The text of a caption's file; a UserError if it is damaged or carries another key."""
    try:
        caption, carried = _read_caption(path)
    except Exception as error:  # all kinds on damaged input
        raise _stale(path) from error
    if carried != key:
        raise _stale(path)
    return caption


def _read_caption(path: Path) -> tuple[str, str]:
    content = json.loads(path.read_text(encoding="utf-8"))
    caption, key = content["caption"], content[_KEY]
    if not isinstance(caption, str) or not isinstance(key, str):
        raise TypeError(path)
    return caption, key


def features_bytes(tensors: dict[str, Tensor], key: str) -> bytes:
    """A safetensors file that carries the key it was made under."""
    # One entry only: the format does not keep several in a fixed order.
    content: bytes = save(tensors, {_KEY: key})
    return content


def features_key(path: Path) -> str | None:
    """The key that a safetensors file carries; None if it carries none, or is not whole."""
    try:
        return _read(path)[1]
    except Exception:  # anything wrong means: not one of ours
        return None


def read_features(path: Path, key: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file; a UserError if it is damaged or carries another key."""
    try:
        tensors, carried = _read(path)
    except Exception as error:  # all kinds on damaged input
        raise _stale(path) from error
    if carried != key:
        raise _stale(path)
    return tensors


def _read(path: Path) -> tuple[dict[str, Tensor], str]:
    # Safetensors takes no path that is not UTF-8, and of bytes it gives no metadata.
    content = path.read_bytes()
    tensors: dict[str, Tensor] = load(content)
    # A file starts with the length of its JSON header.
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return tensors, str(header["__metadata__"][_KEY])


def _stale(path: Path) -> UserError:
    """The one line on a file that is not what the index says."""
    what = "is not what was prepared for its photo" if path.exists() else "is missing"
    return UserError(f"{str(path)!r} {what}: run idgen prepare again")


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
