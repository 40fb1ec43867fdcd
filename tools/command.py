"""Runs a tool's command as `idgen` runs its own: errors that a user can mend are one line."""

import os
import sys
from collections.abc import Callable

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
