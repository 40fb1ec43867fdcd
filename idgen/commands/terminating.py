"""SIGTERM and Ctrl-C while a command is at work: it tidies up, then ends."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def terminating() -> Iterator[None]:
    """Makes SIGTERM raise, so that what is half done is tidied up; the exit code is 143 then.

    Ctrl-C is taken over as well: shells have their background jobs ignore it. Python takes signals
    in its main thread alone; in others nothing is changed.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {signal.SIGTERM: stop, signal.SIGINT: signal.default_int_handler}
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
