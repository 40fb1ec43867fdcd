"""Short names for contents: what made a file, and whether it is still the same."""

import hashlib
import json
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

_CHUNK = 1 << 16
_CHUNKS_PER_FILE = 64


def fingerprint_fields(**fields: str | int | float | bool | None) -> str:
    """Hashes settings by name, whatever order they are given in.

    Args:
        **fields: The settings that decide a result.

    Returns:
        64 hexadecimal digits.
    """
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of all bytes of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint_path(path: Path, patterns: Sequence[str] = ("*",)) -> str:
    """Hashes a model file, or a folder of them, quickly even at gigabytes.

    Small files are hashed whole; of a large one its size and 64 evenly spaced blocks of
    64 KiB. Training a model changes every block, so that tells two models apart, where hashing
    all of them would take seconds at every start.

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
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for file in files:
        name = "" if file == path else file.relative_to(path).as_posix()
        if any(part.startswith(".") for part in name.split("/")):
            continue
        if name and not any(fnmatch(name, pattern) for pattern in patterns):
            continue
        digest.update(f"{name}\0{file.stat().st_size}\0".encode())
        _update_with_blocks(digest, file)
    return digest.hexdigest()


def _update_with_blocks(digest: "hashlib._Hash", file: Path) -> None:
    size = file.stat().st_size
    with file.open("rb") as stream:
        if size <= _CHUNK * _CHUNKS_PER_FILE:
            digest.update(stream.read())
            return
        for index in range(_CHUNKS_PER_FILE):
            stream.seek(index * (size - _CHUNK) // (_CHUNKS_PER_FILE - 1))
            digest.update(stream.read(_CHUNK))
