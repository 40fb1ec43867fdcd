"""Where models in one file are kept as pipeline folders."""

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from idgen.errors import UserError
from idgen.files import TEMPORARY_PREFIX, atomic_write
from idgen.fingerprint import CACHE_VARIABLE, cache_folder, fingerprint_fields
from idgen.locks import BusyError, locked

FORM = 1  # of what is written; another number makes all anew
INDEX = "model_index.json"
SUFFIX = ".safetensors"
WHOLE = ".converted"  # in a folder that has all weights
LOCK = ".lock"
_NAMES = "names"


@dataclass(frozen=True)
class FileName:
    """What a model in one file is asked for by, of which the cache notes what was made of it.

    Attributes:
        file: Its path, absolute.
        config: Of its configuration: a folder, absolute, or a hub id; empty where none was named.
    """

    file: str
    config: str

    @property
    def _path(self) -> Path:
        name = fingerprint_fields(file=self.file, config=self.config, form=FORM)
        return files_cache() / _NAMES / name[:16]

    def note(self, place: Path) -> None:
        """Notes the place of the cache, so that the model is still drawn with once it is gone."""
        with suppress(OSError):  # a cache that is only read does without
            if not self._path.is_file() or self._path.read_text(encoding="utf-8") != place.name:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                atomic_write(self._path, place.name.encode())

    def made(self) -> Path | None:
        """The whole pipeline folder that was last made of a file of this name; None for none."""
        try:
            folder = made_in(files_cache() / self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        whole = folder is not None and (folder / WHOLE).is_file() and not lost_links(folder)
        return folder if whole else None


def files_cache() -> Path:
    """The folder of all of them; a UserError for a user without a home."""
    try:
        return cache_folder() / "single_files"
    except RuntimeError as error:
        raise UserError(f"there is no home folder; set {CACHE_VARIABLE} to a folder") from error


def made_in(place: Path) -> Path | None:
    """The pipeline folder that is in a place of the cache."""
    return next((index.parent for index in sorted(place.glob(f"*/{INDEX}"))), None)


def lost_links(folder: Path) -> bool:
    """Whether weights were taken from a folder that stands elsewhere now."""
    return any(path.is_symlink() and not path.exists() for path in folder.glob(f"*/*{SUFFIX}"))


def clean() -> None:
    """Removes what killed processes left in the cache, whose lock is held."""
    remove_left_over(files_cache())
    for place in files_cache().iterdir():
        if not (place / LOCK).is_file():
            continue
        with suppress(BusyError), locked(place / LOCK, wait=False):
            for folder in filter(Path.is_dir, place.iterdir()):
                remove_left_over(folder)


def remove_left_over(folder: Path) -> None:
    """Removes what was half written into a folder; whoever writes there holds its lock."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
