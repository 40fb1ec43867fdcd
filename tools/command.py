"""Runs a tool's command as `idgen` runs its own: errors that a user can mend are one line."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from idgen.cli import DEBUG_VARIABLE
from idgen.errors import UserError


def run(main: Callable[[], None]) -> None:
    """Call ``main``; a `UserError` is printed without a traceback, and the exit code is 2.

    Args:
        main: Reads the command line and does what it says.

    Raises:
        UserError: As it is, if the environment has ``IDGEN_DEBUG``.
    """
    try:
        main()
    except UserError as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def run_module(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs ``python -m`` in a process of its own, such as a command of idgen's.

    Args:
        *words: The module, and what is said to it.
        **options: Of `subprocess.run`.

    Returns:
        What it printed.

    Raises:
        UserError: With its last line, if it fails.
    """
    command = [sys.executable, "-m", *words]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if ended.returncode:
        said = ended.stderr.strip().splitlines() or [f"ended with {ended.returncode}"]
        raise UserError(f"{' '.join(words)}: {said[-1]}")
    return ended
