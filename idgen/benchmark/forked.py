"""`idgen` commands as forks of a process that has imported everything: seconds sooner to start.

A process of its own imports what commands need and runs none of it; each command is a fork of it.
Only without a GPU, whose state does not survive a fork, and on Linux.
"""

import os
import signal
import sys
import threading
from collections.abc import Mapping
from importlib import import_module
from multiprocessing import get_context, reduction
from multiprocessing.context import ForkServerProcess
from typing import IO, Any

_PRELOADED = "idgen.benchmark.preloaded"
_PAUSE = 0.05  # seconds between two looks
# A process that others watch must not be read by two of their threads at a time.
_lock = threading.Lock()


def can_fork(command: tuple[str, ...]) -> bool:
    """Whether a command is one of idgen, on a machine where it can be a fork."""
    if command[:3] != (sys.executable, "-m", "idgen") or sys.platform != "linux":
        return False
    import torch

    return torch.cuda.device_count() == 0


class ForkedCommand:
    """An `idgen` command under way, in a session of its own; the like of `subprocess.Popen`."""

    def __init__(
        self,
        command: tuple[str, ...],
        output: IO[bytes],
        kept: IO[bytes],
        environment: Mapping[str, str],
    ) -> None:
        """Starts it.

        Args:
            command: `python -m idgen` and its arguments.
            output: Where its output goes.
            kept: An open file that it holds as long as it lives.
            environment: All variables.
        """
        context = get_context("forkserver")
        files = _Inherited(output.fileno()), _Inherited(kept.fileno())
        arguments = (list(command[3:]), *files, dict(environment))
        with _lock:
            context.set_forkserver_preload([_PRELOADED])
            self._process: ForkServerProcess = context.Process(target=_run, args=arguments)
            threads = os.environ.get("OMP_NUM_THREADS")
            # A pool of threads would not survive the fork: the first process has none.
            os.environ["OMP_NUM_THREADS"] = "1"
            try:
                self._process.start()
            finally:
                del os.environ["OMP_NUM_THREADS"]
                if threads is not None:
                    os.environ["OMP_NUM_THREADS"] = threads

    @property
    def pid(self) -> int:
        """Its number, and that of its session."""
        assert self._process.pid is not None
        return self._process.pid

    def send_signal(self, number: int) -> None:
        """Sends it a signal, unless it has ended."""
        with _lock:
            if self._process.is_alive():
                os.kill(self.pid, number)

    def wait(self) -> int:
        """Waits for its end and returns its exit code, below 0 where a signal ended it."""
        pause = threading.Event()
        while True:
            with _lock:
                code = self._process.exitcode
            if code is not None:
                return code
            pause.wait(_PAUSE)


class _Inherited:
    """An open file on its way into another process."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (reduction.DupFd(self.descriptor),)


def _received(passed: Any) -> _Inherited:
    return _Inherited(passed.detach())


def _run(
    arguments: list[str], output: _Inherited, kept: _Inherited, environment: dict[str, str]
) -> None:
    """The command, in a process that looks like one that was started for it."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output.descriptor, 1), (output.descriptor, 2)):
        os.dup2(source, target)
    os.set_inheritable(kept.descriptor, True)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # What launches further processes looks here for the command to repeat.
    main = import_module("idgen.__main__")
    sys.modules["__main__"] = main
    sys.argv = [str(main.__file__), *arguments]
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    import torch

    if threads := environment.get("OMP_NUM_THREADS"):
        torch.set_num_threads(int(threads))
    sys.exit(main.main(arguments))
