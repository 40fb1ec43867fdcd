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

from idgen.errors import UserError
from idgen.prepare.features import Parts
from idgen.prepare.photos import Photo, UnfitPhotoError, subject_name
from idgen.prepare.state import State, Target
from idgen.prepare.store import Kind, Store
from idgen.prepare.subject import LeftOut, read_index

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
        parts: Latents and embeddings that are not in a file yet.
    """

    name: str
    state: State
    error: UserError | None = None
    made: set[str] = field(default_factory=set)
    faults: list[LeftOut] = field(default_factory=list)
    parts: Parts = field(default_factory=dict)

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
    index = None if job.error else read_index(Store(output))
    warnings = sum(bool(photo.warnings) for photo in index.photos) if index else 0
    return Outcome(name, output, len(job.state.targets), len(job.made), warnings, job.error)


Work: TypeAlias = list[tuple[Job, Target]]


class Steps:
    """One progress bar over all steps of all subjects, on stderr."""

    def __init__(self, shown: bool, jobs: Sequence[Job]) -> None:
        """Counts the steps that the jobs will take.

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
        total = sum(_steps(job.state) for job in jobs)
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
        name = "".join(c if c.isprintable() else "\ufffd" for c in job.name)
        self._bars.update(self._task, description=f"{stage} of {name[:_LONGEST_NAME]}")

    def advance(self, steps: int = 1) -> None:
        """Counts steps that were taken, or were not needed."""
        self._bars.advance(self._task, steps)


def _steps(state: State) -> int:
    """Masks, backgrounds, latents and embeddings that are lacking, and the contact sheet."""
    features = len(state.lacking("features"))
    return len(state.lacking("masks")) + len(state.lacking("backgrounds")) + 2 * features + 1


@contextmanager
def named(photo: Photo) -> Iterator[None]:
    """Puts the photo's name before an error about it."""
    try:
        yield
    except UserError as error:
        raise type(error)(f"photo {photo.name!r}: {error}") from error
