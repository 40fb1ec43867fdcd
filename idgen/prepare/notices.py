"""What a preparation tells about its photos while it goes on with the work."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

from idgen.prepare.jobs import Job
from idgen.prepare.photos import lone_photo_note
from idgen.prepare.state import State
from idgen.prepare.store import CONTACT_PAGE
from idgen.prepare.subject import LeftOut

_log = logging.getLogger(__name__)


class Notices:
    """Warnings, each given once: photos are looked at again when their folder is locked."""

    def __init__(self) -> None:
        """Nothing was said yet."""
        self._said: set[str] = set()

    def warn(self, note: str) -> None:
        """Warns, unless this very note was given before.

        Args:
            note: One line.
        """
        if note not in self._said:
            self._said.add(note)
            warnings.warn(note, stacklevel=3)

    def left_out(self, photos_folder: Path, fault: LeftOut) -> None:
        """Names a photo that is left out, and why.

        Args:
            photos_folder: The subject's photos.
            fault: The photo and the reason.
        """
        self.warn(f"{photos_folder}: left out {fault}")

    def lone(self, photos_folder: Path, state: State) -> None:
        """Says that a subject has one photo, if it has.

        Args:
            photos_folder: The subject's photos.
            state: Of the subject.
        """
        if len(state.targets) == 1:
            self.warn(lone_photo_note(photos_folder))

    def grabcut_by_default(self, jobs: Sequence[Job]) -> None:
        """Says, before it makes masks, that GrabCut was not asked for.

        Args:
            jobs: The subjects at work; nothing is said if all have their masks.
        """
        sheets = [
            job.state.store.folder / CONTACT_PAGE for job in jobs if job.state.lacking("masks")
        ]
        if sheets:
            _log.warning(
                "masks by GrabCut, which tells colours apart and needs no weights: look at %s; "
                "for others set preparation.segmenter (SamSegmenter, MaskFiles)",
                sheets[0] if len(sheets) == 1 else f"{sheets[0]} and its like",
            )
