"""What a run of preparation did, for the terminal."""

import sys
from collections.abc import Sequence

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from idgen.errors import printable
from idgen.prepare import Outcome

_WIDTH_OF_A_FILE = 140


def summary_table(outcomes: Sequence[Outcome]) -> Table:
    """A row a subject: photos, what was done, or why it failed."""
    table = Table("subject", "photos", "outcome", "to look at")
    table.columns[1].justify = "right"
    for outcome in outcomes:
        # Text, not markup: names may hold brackets.
        table.add_row(
            Text(printable(outcome.name)),
            str(outcome.photos) if outcome.photos else "-",
            _done(outcome),
            f"{outcome.warnings} of {outcome.photos}" if outcome.warnings else "",
        )
    return table


def _done(outcome: Outcome) -> Text:
    if outcome.error is not None:
        return Text(f"failed: {printable(str(outcome.error))}", style="red")
    if not outcome.made:
        return Text("up to date")
    some = "" if outcome.made == outcome.photos else f" {outcome.made} of {outcome.photos}"
    return Text(f"made{some}", style="green")


def print_summary(outcomes: Sequence[Outcome]) -> None:
    """Prints the table on stdout; where that is a file, wide enough for most reasons."""
    console = Console(width=None if sys.stdout.isatty() else _WIDTH_OF_A_FILE)
    console.print(summary_table(outcomes))


def peak_memory() -> str:
    """The most memory this process has held, where the system says so, and of the GPU's."""
    held = []
    try:
        import resource
    except ImportError:  # on Windows
        pass
    else:
        # Linux counts in KiB, macOS in bytes.
        unit = 1 if sys.platform == "darwin" else 1024
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        held.append(f"{resident / 2**30:.1f} GiB")
    if torch.cuda.is_available():
        held.append(f"of the GPU {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")
    return f"peak memory {', '.join(held) or 'unknown'}"
