"""What became of a subject that was to be prepared."""

from dataclasses import dataclass
from pathlib import Path

from idgen.errors import UserError
from idgen.prepare.photos import subject_name
from idgen.prepare.state import State


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

    @classmethod
    def of(cls, state: State | UserError, photos: Path, output: Path) -> "Outcome":
        """Of a subject after a run.

        Args:
            state: How it stands, or what stopped it before any work.
            photos: Its folder of photos.
            output: The prepared subject's folder.
        """
        name = subject_name(photos)
        if isinstance(state, UserError):
            return cls(name, output, photos=0, made=0, warnings=0, error=state)
        index = None if state.error else state.store.index()
        warned = sum(bool(photo.warnings) for photo in index.photos) if index else 0
        return cls(name, output, len(state.targets), len(state.made), warned, state.error)
