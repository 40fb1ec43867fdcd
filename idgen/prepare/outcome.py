"""What a run of preparation did, subject by subject, and how a terminal shows it."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from idgen.errors import UserError, printable
from idgen.prepare.jobs import Job
from idgen.prepare.photos import subject_name
from idgen.prepare.store import Store

_WIDTH_OF_A_FILE = 140


@dataclass(frozen=True)
class Outcome:
    """What became of one subject.

    Attributes:
        name: What its folder of photos is called.
        output: The prepared subject's folder.
        photos: How many photos it has; 0 if they cannot be used.
        made: Of how many of them anything was made.
        warnings: Photos that look wrong.
        error: What stopped it, if anything did.
    """

    name: str
    output: Path
    photos: int
    made: int
    warnings: int
    error: UserError | None


def outcome_of(job: Job | UserError, photos: Path, output: Path) -> Outcome:
    """Sums up what became of a subject.

    Args:
        job: Its job, or what kept it from becoming one.
        photos: The folder of photos.
        output: The prepared subject's folder.
    """
    name = subject_name(photos)
    if isinstance(job, UserError):
        return Outcome(name, output, photos=0, made=0, warnings=0, error=job)
    index = None if job.error else Store(output).index()
    warnings = sum(bool(photo.warnings) for photo in index.photos) if index else 0
    return Outcome(name, output, len(job.state.targets), len(job.made), warnings, job.error)


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
