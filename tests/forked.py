"""A process of its own for what tests signal or kill: forked, so that it imports nothing anew."""

import multiprocessing
import sys
from collections.abc import Callable
from multiprocessing.context import ForkProcess
from pathlib import Path


def start_forked(work: Callable[[], int], log: Path) -> ForkProcess:
    """Starts a process whose exit code is what `work` returns.

    Args:
        work: What it does. It must not compute with torch, whose threads a fork lacks.
        log: Where its output goes.
    """
    process = multiprocessing.get_context("fork").Process(target=_run, args=(work, log))
    process.start()
    return process


def _run(work: Callable[[], int], log: Path) -> None:
    with log.open("w", buffering=1) as output:
        sys.stdout = sys.stderr = output
        sys.exit(work())
