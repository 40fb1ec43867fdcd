"""Short names for contents: what made a file, and whether it is still the same."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

import idgen
from idgen.files import atomic_write

CACHE_VARIABLE = "IDGEN_CACHE"
_CHUNK = 1 << 16
_CHUNKS_PER_FILE = 64
_CACHE_FILE = "fingerprints.json"
_SETTLED = 2 * 10**9  # nanoseconds; a younger file may change again within one tick of its clock
_WORTHWHILE = 1 << 20  # bytes; less is hashed sooner than looked up
_MOST_ENTRIES = 4096


def fingerprint_fields(**fields: str | int | float | bool | None) -> str:
    """Hashes settings by name, in any order, as 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of all bytes of a file, as 64 hexadecimal digits; remembered while it is unchanged.

    Raises:
        OSError: If it cannot be read.
    """
    return _remembered("whole", path, [path], lambda: _whole_digest(path))


def fingerprint_path(path: Path, patterns: Sequence[str] = ("*",)) -> str:
    """Hashes a model file, or a folder of them, quickly even at gigabytes.

    Small files are hashed whole; of a large one its size and 64 evenly spaced blocks of
    64 KiB. Training a model changes every block, so that tells two models apart, where hashing
    all of them would take seconds at every start. The hash is remembered while no file changes.

    Args:
        path: A file or a folder. Hidden files in a folder do not count.
        patterns: Of the files in a folder, those whose path in it fits one of them count.

    Returns:
        64 hexadecimal digits that depend on contents and names, not on place or time.

    Raises:
        FileNotFoundError: If there is no such path.
    """
    if not path.exists():
        raise FileNotFoundError(path)
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    counted = {name: file for file in files if _counts(name := _name_in(path, file), patterns)}
    kind = json.dumps(["blocks", *counted])
    return _remembered(kind, path, list(counted.values()), lambda: _blocks_digest(counted))


def _name_in(path: Path, file: Path) -> str:
    return "" if file == path else file.relative_to(path).as_posix()


def _counts(name: str, patterns: Sequence[str]) -> bool:
    if any(part.startswith(".") for part in name.split("/")):
        return False
    return not name or any(fnmatch(name, pattern) for pattern in patterns)


def _whole_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _blocks_digest(files: Mapping[str, Path]) -> str:
    digest = hashlib.sha256()
    for name, file in files.items():
        size = file.stat().st_size
        digest.update(f"{name}\0{size}\0".encode())
        with file.open("rb") as stream:
            if size <= _CHUNK * _CHUNKS_PER_FILE:
                digest.update(stream.read())
                continue
            for index in range(_CHUNKS_PER_FILE):
                stream.seek(index * (size - _CHUNK) // (_CHUNKS_PER_FILE - 1))
                digest.update(stream.read(_CHUNK))
    return digest.hexdigest()


# What was hashed before: a path with what is hashed of it -> (state of its files, hash). Losing it
# costs time only, so that whatever is wrong with the file is no error.


def _remembered(kind: str, path: Path, files: Sequence[Path], compute: Callable[[], str]) -> str:
    """A hash from the cache, where no file has changed since, or computed and kept.

    A file that was changed within the last two seconds is not trusted: it may change again and
    keep size and time.
    """
    key = f"{os.path.realpath(path)}\0{kind}"
    try:
        before = _state(files)
    except OSError:
        before = None
    if before is None:
        return compute()
    known = _read_cache()
    entry = known.get(key)
    if isinstance(entry, list) and len(entry) == 2 and entry[0] == before:
        return str(entry[1])
    found = compute()
    if _state(files) == before:
        known.pop(key, None)
        known[key] = [before, found]
        _write_cache(known)
    return found


def _state(files: Sequence[Path]) -> str | None:
    """Size, times and inodes of files, as a hash; None if they are not to be remembered."""
    stats = [file.stat() for file in files]
    if sum(s.st_size for s in stats) < _WORTHWHILE:
        return None
    # The time of change too: an earlier time of modification can be set by hand.
    if any(time.time_ns() - max(s.st_mtime_ns, s.st_ctime_ns) < _SETTLED for s in stats):
        return None
    told = [(s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino, s.st_dev) for s in stats]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def own_code() -> str:
    """Hash of which files idgen's own code is in, their sizes and times."""
    root = Path(idgen.__file__).parent
    stats = [(str(path), path.stat()) for path in sorted(root.rglob("*.py"))]
    told = [(path, stat.st_mtime_ns, stat.st_size) for path, stat in stats]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def cache_folder() -> Path:
    """Where what costs time alone is kept: `$IDGEN_CACHE`, by default `~/.cache/idgen`.

    Raises:
        RuntimeError: If the user has no home.
    """
    if own := os.environ.get(CACHE_VARIABLE):
        return Path(own).expanduser()
    users = os.environ.get("XDG_CACHE_HOME")
    return (Path(users) if users else Path.home() / ".cache") / "idgen"


def _read_cache() -> dict[str, object]:
    try:
        content = json.loads((cache_folder() / _CACHE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError):  # a user without a home has no cache
        return {}
    return content if isinstance(content, dict) else {}


def _write_cache(known: dict[str, object]) -> None:
    latest = dict(list(known.items())[-_MOST_ENTRIES:])
    with contextlib.suppress(OSError, RuntimeError):
        path = cache_folder() / _CACHE_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, json.dumps(latest, indent=0).encode())
