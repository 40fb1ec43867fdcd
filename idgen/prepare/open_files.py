"""How many files a run may hold open: one lock a subject, beside what everything else needs."""

import resource

from idgen.errors import UserError

_OTHERS = 256
"""Files, pipes and libraries that the rest of the process holds open, with room to spare."""


def allow_locks(count: int) -> None:
    """Raises the process's limit of open files, as far as it may, so that locks find room.

    Args:
        count: How many locks will be held at once.

    Raises:
        UserError: If the limit that an administrator set is too low.
    """
    needed = count + _OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise UserError(
            f"{count} subjects at once need {needed} open files, and at most {hard} are allowed "
            "(ulimit -Hn): prepare them in several calls"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
