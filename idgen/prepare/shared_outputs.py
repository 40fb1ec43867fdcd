"""Outputs that are one folder through a link: a run would wait for its own lock."""

from collections.abc import Sequence
from pathlib import Path

from idgen.errors import UserError
from idgen.prepare.jobs import Job


def keep_outputs_apart(looked: Sequence[Job | UserError]) -> list[Job | UserError]:
    """Puts an error in the place of subjects whose output folders are the same.

    Args:
        looked: The subjects of a run.
    """
    apart = list(looked)
    owners: dict[Path, int] = {}
    for at, job in enumerate(looked):
        if isinstance(job, UserError):
            continue
        first_at = owners.setdefault(job.state.store.folder.resolve(), at)
        first = looked[first_at]
        if first_at != at and isinstance(first, Job):
            apart[first_at] = apart[at] = UserError(
                f"the outputs {first.state.store.folder} and {job.state.store.folder} are one "
                "folder: remove the link, so that each subject has its own"
            )
    return apart
