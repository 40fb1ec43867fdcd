"""Progress on the terminal: a bar over all cells, and a line for each cell that ends."""

import threading
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from idgen.benchmark.cell import Cell, Outcome
from idgen.errors import printable

_LONGEST = 60


class CellProgress:
    """A bar on stderr and a line for each cell that ends; where stderr is a file, lines only."""

    def __init__(self, what: str, cells: int, finished: int = 0) -> None:
        """Starts counting.

        Args:
            what: What the cells are.
            cells: How many there are.
            finished: How many of them are finished already.
        """
        self._console = Console(stderr=True, soft_wrap=True)
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._what, self._cells, self._ended = what, cells, finished
        self._task = self._bars.add_task(what, total=cells, completed=finished)
        self._running: list[str] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def started(self, cell: Cell) -> None:
        """Notes that a cell has started; may be called from any thread."""
        with self._lock:
            self._running.append(cell.name)
            self._show()

    def ended(self, outcome: Outcome) -> None:
        """Counts a cell and says how it ended."""
        with self._lock:
            if outcome.cell.name in self._running:
                self._running.remove(outcome.cell.name)
            self._ended += 1
            self._bars.advance(self._task)
            self._show()
        said = "failed: " + outcome.reason if outcome.failed else outcome.reason or "done"
        line = f"{self._ended}/{self._cells} {outcome.cell.name}: {said}"
        self._console.print(Text(printable(line), style="red" if outcome.failed else ""))

    def say(self, line: str) -> None:
        """Prints a line above the bar."""
        self._console.print(Text(line))

    def _show(self) -> None:
        names = printable(", ".join(self._running))
        names = names if len(names) <= _LONGEST else f"{names[: _LONGEST - 1]}…"
        self._bars.update(self._task, description=names or self._what)
