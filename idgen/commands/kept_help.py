"""The long help of fit, validate, test and predict: made once, then kept.

To make it takes all of torch and Lightning, whose classes it lists.
"""

import contextlib
import importlib.metadata
import io
import json
import os
import shutil
import sys
from pathlib import Path

from idgen.files import atomic_write
from idgen.fingerprint import cache_folder, fingerprint_fields, own_code
from idgen.importing import uncollected

# What is not idgen's own in it: classes, their texts, and how they are laid out.
_LIBRARIES = ("docstring-parser", "jsonargparse", "lightning", "torch")
_SETTINGS_OF_THE_PARSER = "JSONARGPARSE"


def print_help(command: str) -> int:
    """Prints a command's help, and returns the exit code.

    Args:
        command: `fit`, `validate`, `test` or `predict`.

    Raises:
        UserError: As the command would.
        OSError: If what is printed cannot be written.
    """
    made_from = _made_from(command)
    text = _kept(command, made_from)
    if text is None:
        text = _made(command)
        _keep(command, made_from, text)
    print(text, end="")
    return 0


def _made_from(command: str) -> str:
    """Hash of all that a help depends on."""
    settings = {k: v for k, v in os.environ.items() if k.startswith(_SETTINGS_OF_THE_PARSER)}
    return fingerprint_fields(
        command=command,
        sources=own_code(),
        libraries=json.dumps([importlib.metadata.version(name) for name in _LIBRARIES]),
        settings=json.dumps(settings, sort_keys=True),
        python=sys.version,
        width=shutil.get_terminal_size().columns,
    )


def _file(command: str) -> Path:
    return cache_folder() / "help" / f"{command}.json"


def _kept(command: str, made_from: str) -> str | None:
    try:
        kept = json.loads(_file(command).read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError):  # a user without a home has no cache
        return None
    if not isinstance(kept, dict) or kept.get("made_from") != made_from:
        return None
    text = kept.get("text")
    return text if isinstance(text, str) else None


def _keep(command: str, made_from: str, text: str) -> None:
    with contextlib.suppress(OSError, RuntimeError):
        path = _file(command)
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, json.dumps({"made_from": made_from, "text": text}).encode())


def _made(command: str) -> str:
    # A help that is kept does without all that this imports.
    with uncollected():
        from idgen.commands.train import run_trainer

    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            run_trainer(command, ["--help"])
    except SystemExit as ended:
        if ended.code not in (None, 0):
            raise
    return printed.getvalue()
