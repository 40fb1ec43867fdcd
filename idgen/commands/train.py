"""fit, validate, test and predict."""

from collections.abc import Sequence

from idgen.callbacks.termination import GracefulTermination
from idgen.runs.cli import IdgenCLI
from idgen.runs.quiet import HeldLines, quieten
from idgen.runs.stored import read_stored_run

_DESCRIPTIONS = {
    "fit": "Trains adapters on one subject's photos; prepares the photos first where needed.",
    "validate": "Draws and scores the validation prompts; --ckpt_path alone is enough.",
    "test": "Draws and scores the whole prompt suite; --ckpt_path alone is enough.",
    "predict": "Draws the prompts of --data.predict_prompts; --ckpt_path alone is enough.",
}


def run_trainer(command: str, options: Sequence[str]) -> int:
    """Runs fit, validate, test or predict, and returns the exit code.

    Raises:
        UserError: For anything the user can mend.
    """
    quieten()
    termination = GracefulTermination()
    termination.install()
    held = HeldLines()
    try:
        stored = read_stored_run(_option(options, "--ckpt_path"))
        IdgenCLI(command, stored, termination).run(
            options,
            held,
            usage=f"idgen {command} --config FILE [--config OVERLAY ...] [--KEY VALUE ...]",
            description=_DESCRIPTIONS[command],
        )
    except SystemExit:
        if termination.received is None:
            raise
    finally:
        held.drop()
        termination.restore()
    return termination.exit_code


def _option(options: Sequence[str], name: str) -> str | None:
    """The last value given for an option, as `--name value` or `--name=value`."""
    found = None
    for index, option in enumerate(options):
        if option == name and index + 1 < len(options):
            found = options[index + 1]
        elif option.startswith(f"{name}="):
            found = option.partition("=")[2]
    return found
