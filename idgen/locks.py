"""Locks between processes: one writer of a file or a folder at a time."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_PAUSE = 0.2  # seconds between two tries


class BusyError(Exception):
    """Another process holds the lock, and it was not to be waited for any longer."""


def _said_nothing() -> None:
    return None


@contextmanager
def locked(
    path: Path,
    *,
    wait: bool = True,
    on_wait: Callable[[], None] = _said_nothing,
    stop: threading.Event | None = None,
) -> Iterator[IO[bytes]]:
    """Keeps other processes that lock the same file out of the context.

    The operating system gives the lock back when the process ends, however it ends. A child
    process that inherits the file holds the lock too.

    Args:
        path: An empty file, made where it is missing and left there; its folder has to exist.
        wait: Whether to wait for one's turn.
        on_wait: Called once, when the wait begins.
        stop: Ends the wait when it is set.

    Yields:
        The locked file.

    Raises:
        BusyError: If another process holds the lock and `wait` is false or `stop` was set.
        OSError: If the file cannot be written.
    """
    with path.open("ab") as file:
        said = False
        while (stop is not None and stop.is_set()) or not _taken(file):
            if not wait or (stop is not None and stop.is_set()):
                raise BusyError(path)
            if not said:
                said = True
                on_wait()
            (stop or threading.Event()).wait(_PAUSE)
        yield file


def _taken(file: IO[bytes]) -> bool:
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
