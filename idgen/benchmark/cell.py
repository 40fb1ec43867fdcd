"""A cell of the benchmark: commands to run one after the other in a folder of its own."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idgen.errors import UserError
from idgen.files import atomic_write

RECORD, DONE, FAILED = "cell.json", "done.json", "failed.json"


@dataclass(frozen=True)
class Step:
    """One command of a cell.

    Attributes:
        name: Its name, and its log's: `fit`, `test`.
        command: Program and arguments.
        result: The file that it leaves.
        output: Folder that has to be new when it starts; what an interrupted run left is deleted.
            None for a command that goes on by itself.
        checkpoint: Where it goes on from, if that file is there; then `output` is kept.
        verify: Raises a `UserError` if the result cannot be used.
    """

    name: str
    command: tuple[str, ...]
    result: Path
    output: Path | None = None
    checkpoint: Path | None = None
    verify: Callable[[Path], None] | None = None


@dataclass(frozen=True)
class Cell:
    """One run of the comparison, or one preparation.

    Attributes:
        name: What progress and failures call it, such as `lora / cat 3 / seed 0`.
        folder: Its own folder.
        record: All that decides its result, places left out; plain JSON values.
        steps: Its commands.
        files: Files that the steps read, by path; written before they start.
        beside: Folders outside its own that the steps go on in, such as the run's.
    """

    name: str
    folder: Path
    record: dict[str, Any]
    steps: tuple[Step, ...]
    files: Mapping[Path, str]
    beside: tuple[Path, ...] = ()

    @property
    def key(self) -> str:
        """Hash of the record: what a done marker is valid for."""
        return hashlib.sha256(json.dumps(self.record, sort_keys=True).encode()).hexdigest()

    def is_done(self) -> bool:
        """Whether it has been run to its end, with this very record.

        What its last step left has to be there still; checkpoints may be deleted to save space.
        """
        marker = read_json(self.folder / DONE)
        same = marker is not None and marker.get("key") == self.key
        return same and self.steps[-1].result.exists()

    def failure(self) -> dict[str, Any] | None:
        """Reason and exit code if its last run failed, with this very record."""
        failed = read_json(self.folder / FAILED)
        return failed if failed is not None and failed.get("key") == self.key else None

    def earlier_record(self) -> dict[str, Any] | None:
        """The record that the folder's finished run was made with, if there is one."""
        return None if read_json(self.folder / DONE) is None else read_json(self.folder / RECORD)


@dataclass(frozen=True)
class Outcome:
    """What became of a cell.

    Attributes:
        cell: The cell.
        reason: Why it failed; empty if it did not.
        exit_code: Of the command that failed; 0 if none did.
        stopped: Whether it was stopped from outside, to go on another time.
    """

    cell: Cell
    reason: str = ""
    exit_code: int = 0
    stopped: bool = False

    @property
    def failed(self) -> bool:
        """Whether it failed by itself."""
        return bool(self.reason) and not self.stopped


def read_json(path: Path) -> dict[str, Any] | None:
    """A file's JSON object, None where there is no file; a UserError if it holds another thing."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot read {path} ({error}); delete the folder to run it anew"
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object; delete the folder to run it anew")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a JSON object, whole or not at all."""
    atomic_write(path, json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n")


def flattened(content: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined by dots; lists are values."""
    if not isinstance(content, dict) or not content:
        return {prefix: content}
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= flattened(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def difference(first: Any, second: Any) -> str | None:
    """Names the first field in which two records, nested mappings of plain values, differ.

    Returns:
        Such as `protocol.images is 4 there and 2 here`, None if there is none.
    """
    there, here = flattened(first), flattened(second)
    for key in there | here:
        if key not in there or key not in here or there[key] != here[key]:
            return f"{key} is {_shown(there, key)} there and {_shown(here, key)} here"
    return None


def _shown(record: dict[str, Any], key: str) -> str:
    text = repr(record[key]) if key in record else "absent"
    return text if len(text) <= 60 else f"{text[:57]}..."
