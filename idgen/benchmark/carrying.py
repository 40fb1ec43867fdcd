"""Cells on machines that do not see the folder: what they read goes along, results come home."""

import io
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from idgen.benchmark.cell import DONE, FAILED, Cell
from idgen.errors import UserError
from idgen.files import atomic_write


def read_by(cell: Cell) -> list[Path]:
    """What a cell's commands read or go on from: all that its configs name and that is there.

    Photos, masks, the prepared subject, folders of models; and what an attempt before left.

    Args:
        cell: The cell, on the machine that plans.

    Returns:
        Absolute paths of files and folders, none inside another.
    """
    named = [Path(text) for content in cell.files.values() for text in _texts(content)]
    given = [*named, cell.folder, *cell.beside]
    there = {path for path in given if path.is_absolute() and path.exists()}
    return sorted(p for p in there if not any(parent in there for parent in p.parents))


def left_by(cell: Cell) -> list[Path]:
    """What a cell's commands leave: its folder, those beside it, the folders of their results."""
    found = {cell.folder, *cell.beside, *(step.result.parent for step in cell.steps)}
    there = {path for path in found if path.exists()}
    return sorted(p for p in there if not any(parent in there for parent in p.parents))


def packed(paths: Sequence[Path]) -> bytes:
    """Files and folders as one archive, under their own absolute paths; links are followed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", dereference=True) as archive:
        for path in paths:
            # A lock is of the machine that holds it.
            archive.add(path, filter=lambda entry: None if _is_lock(entry) else entry)
    return buffer.getvalue()


def unpacked(archive: bytes, over: bool) -> None:
    """Writes an archive's files to their absolute paths, each whole, what marks an end last.

    Args:
        archive: Of `packed`.
        over: Whether files that are there are replaced; else they have to be the same.

    Raises:
        UserError: If a folder cannot be made on this machine, or another file is in the way.
    """
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        for entry in sorted(opened.getmembers(), key=lambda entry: _is_marker(entry.name)):
            path = Path("/") / entry.name
            content = opened.extractfile(entry) if entry.isfile() else None
            if path.is_file() and not over:
                if content is not None and content.read() != path.read_bytes():
                    raise UserError(
                        f"{path} here is another file than where it was planned; move it"
                    )
                continue
            try:
                folder = path if entry.isdir() else path.parent
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f"cannot make {folder} here: {error.strerror}") from error
            if content is not None:
                atomic_write(path, content.read())


def removed(paths: Sequence[Path]) -> None:
    """Takes what was carried home off the machine that made it."""
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)


def _is_marker(name: str) -> bool:
    return Path(name).name in (DONE, FAILED) or name.endswith(".done")


def _is_lock(entry: tarfile.TarInfo) -> bool:
    return Path(entry.name).name == "lock" and entry.isfile() and not entry.size


def _texts(content: str) -> Iterator[str]:
    yield from _strings(yaml.safe_load(content))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part)
    elif isinstance(value, str):
        yield value.removeprefix("local-dir:")
