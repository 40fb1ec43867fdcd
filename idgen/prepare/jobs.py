"""Subjects at work: how far each is, what stopped it, and one progress bar over all."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from idgen.errors import UserError, printable
from idgen.prepare.index import KINDS, Kind, LeftOut
from idgen.prepare.photos import UnfitPhotoError
from idgen.prepare.state import State, Target

_LONGEST_NAME = 24


@dataclass
class Job:
    """One subject at work.

    Attributes:
        name: What its folder of photos is called.
        state: What should be and what is.
        error: What stopped it; the other subjects go on.
        made: Digests of the photos of which anything was made.
        faults: What could not be made in this stage.
    """

    name: str
    state: State
    error: UserError | None = None
    made: set[str] = field(default_factory=set)
    faults: list[LeftOut] = field(default_factory=list)

    @property
    def photos_folder(self) -> Path:
        """Where its photos lie."""
        return self.state.photos[0].path.parent

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Keeps an error that the user can mend to this subject."""
        try:
            yield
        except UserError as error:
            self.error = error

    @contextmanager
    def trying(self, target: Target, kind: Kind) -> Iterator[None]:
        """Notes why nothing can be made of this photo; the stage goes on with the others."""
        try:
            yield
        except UnfitPhotoError as error:
            self.faults.append(self.state.fault(target, kind, str(error)))
        else:
            self.made.add(target.photo.digest)

    def settle(self, skip_bad: bool) -> list[LeftOut]:
        """Ends a stage: photos that are unfit are left out, or else stop their subject.

        Args:
            skip_bad: Whether they may be left out.

        Returns:
            Those that are left out now.

        Raises:
            UserError: If they may not, or if none is left; it names all of them.
        """
        faults, self.faults = self.faults, []
        if faults and not skip_bad:
            raise unfit(faults)
        if faults:
            self.state.leave_out(faults)
            self.made -= {fault.digest for fault in faults}
        return faults


def unfit(faults: Sequence[LeftOut]) -> UserError:
    """What to tell the user of photos that are unfit and may not be left out."""
    return UserError("; ".join(f"photo {fault}" for fault in faults))


Work: TypeAlias = list[tuple[Job, Target]]


class Steps:
    """One progress bar over all steps of all subjects, on stderr."""

    def __init__(self, shown: bool, jobs: Sequence[Job]) -> None:
        """Counts the steps that the jobs will take: each file that is lacking, and the sheets.

        Args:
            shown: Whether to show the bar.
            jobs: The subjects.
        """
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not shown,
        )
        total = sum(len(job.state.missing_files(KINDS)) + 1 for job in jobs)
        self._task = self._bars.add_task("preparing", total=total)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Shows the bar inside the context."""
        with self._bars:
            yield

    def each(self, work: Work, stage: str) -> Iterator[tuple[Job, Target]]:
        """The photos to work on, each a step; says at which one it is."""
        for job, target in work:
            self.show(stage, job)
            yield job, target
            self.advance()

    def show(self, stage: str, job: Job) -> None:
        """Says what is being done."""
        description = f"{stage} of {printable(job.name)[:_LONGEST_NAME]}"
        self._bars.update(self._task, description=description)

    def advance(self) -> None:
        """Counts a step that was taken."""
        self._bars.advance(self._task)
