"""How far a preparation is: a bar on a terminal, lines in a file."""

import time
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

from idgen.errors import printable

_LONGEST_NAME = 24
_BETWEEN_LINES = 10.0  # seconds within a stage


class PreparationProgress:
    """A bar over all steps on stderr; where that is no terminal, a line a stage and now and then.

    A line is written as each stage begins, and within it once ten seconds have passed since the
    last one.
    """

    def __init__(self, steps: int, shown: bool, console: Console | None = None) -> None:
        """Starts at no step.

        Args:
            steps: How many there are.
            shown: Whether anything is written.
            console: Where; stderr by default.
        """
        self._console = console or Console(stderr=True, soft_wrap=True)
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not (shown and self._console.is_terminal),
        )
        self._task = self._bars.add_task("preparing", total=steps)
        self._lines = shown and not self._console.is_terminal
        self._steps, self._done = steps, 0
        self._stage, self._said = "", 0.0

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def begin(self, stage: str, subject: str) -> None:
        """Begins a step.

        Args:
            stage: Such as `masks`.
            subject: The subject's name.
        """
        doing = f"{stage} of {printable(subject)[:_LONGEST_NAME]}"
        self._bars.update(self._task, description=doing)
        now = time.monotonic()
        if self._lines and (stage != self._stage or now - self._said >= _BETWEEN_LINES):
            line = f"preparing, step {self._done + 1} of {self._steps}: {doing}"
            self._console.print(Text(line))
            self._stage, self._said = stage, now

    def advance(self) -> None:
        """Ends a step."""
        self._done += 1
        self._bars.advance(self._task)
