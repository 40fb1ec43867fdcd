"""Finished cells as small files: enough for the report, and to go on on another machine."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idgen.benchmark.cell import Cell, difference, read_json, write_json
from idgen.errors import UserError

_PLAIN = (str, int, float, bool, type(None))
_LONG = 80  # letters; what is longer is kept as a hash
_DIGITS = 16


@dataclass(frozen=True)
class Records:
    """A folder of files, one a finished cell: its key, what decides its result, its scores.

    Drawings and checkpoints stay where they are. A file is a few kilobytes and names no place of
    the machine, so that a comparison can be kept under version control and gone on with elsewhere.

    Attributes:
        folder: The folder, existing or not.
    """

    folder: Path

    def path(self, cell: Cell) -> Path:
        """The file of a cell: as its folder lies below `cells`."""
        *_, method, subject, seed = cell.folder.parts
        return self.folder / method / subject / f"{seed}.json"

    def metrics(self, cell: Cell) -> dict[str, Any] | None:
        """The content of the metrics.json of a cell that was finished anywhere.

        Returns:
            None if there is no file of it.

        Raises:
            UserError: If the file is damaged, or of other photos, settings, another protocol or
                version; the field is named.
        """
        path = self.path(cell)
        content = read_json(path)
        if content is None:
            return None
        metrics, record = content.get("metrics"), content.get("record")
        if not isinstance(metrics, dict) or not isinstance(record, dict):
            raise UserError(f"{path} is no record of a cell; delete it to run the cell anew")
        if content.get("key") == cell.key:
            return metrics
        differing = difference(record, _shortened(cell.record)) or "its key is another"
        raise UserError(
            f"{path} holds another result of {cell.name}: {differing}; name another folder with "
            "--records, or delete the file to run the cell anew"
        )

    def keep(self, cell: Cell) -> None:
        """Writes the file of a cell that has been finished here, unless it is there.

        Raises:
            UserError: If its scores cannot be read.
        """
        metrics, path = read_json(cell.steps[-1].result), self.path(cell)
        content = {
            "key": cell.key,
            "name": cell.name,
            "record": _shortened(cell.record),
            # The path of a checkpoint says something on one machine alone.
            "metrics": {k: v for k, v in (metrics or {}).items() if k != "checkpoint"},
        }
        if metrics is not None and read_json(path) != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, content)


def _shortened(record: dict[str, Any], depth: int = 3) -> dict[str, Any]:
    """A record whose long values are hashes, still field by field down to a depth."""
    short: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, dict) and value and depth > 1:
            short[key] = _shortened(value, depth - 1)
        elif isinstance(value, _PLAIN) and len(str(value)) <= _LONG:
            short[key] = value
        else:
            text = json.dumps(value, sort_keys=True)
            short[key] = hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
    return short
