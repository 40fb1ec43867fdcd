"""fit, validate, test and predict."""

from collections.abc import Sequence
from pathlib import Path

import torch

from idgen.callbacks.termination import GracefulTermination
from idgen.errors import LostProcessError
from idgen.runs.cli import IdgenCLI
from idgen.runs.quiet import HeldLines, quieten
from idgen.runs.reading import options_with_values
from idgen.runs.several import SeveralSubjects
from idgen.runs.stored import read_stored_run
from idgen.subjects.options import OPTIONS_SAID, SubjectOptions, take_options
from idgen.yaml_texts import load_yaml, read_yaml

_OF_A_CPU = "can't allocate memory"
# What gloo and NCCL say.
_OF_A_LOST_PROCESS = ("closed by peer", "reset by peer", "remote process exited")
_DESCRIPTIONS = {
    "fit": "Trains adapters on one subject's photos; prepares the photos first where needed. "
    + OPTIONS_SAID,
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
    of_several = SubjectOptions()
    if command == "fit":
        of_several, options = take_options(options)
    try:
        return _run_one(command, options, of_several.given)
    except SeveralSubjects as found:
        from idgen.commands.fit_subjects import fit_subjects

        return fit_subjects(found, of_several)


def _run_one(command: str, options: Sequence[str], of_several: Sequence[str]) -> int:
    """Runs a command in this process; `SeveralSubjects` where it is no one run."""
    termination = GracefulTermination()
    termination.install()
    held = HeldLines()
    cli = None
    try:
        stored = read_stored_run(_checkpoint(options))
        cli = IdgenCLI(command, stored, termination, of_several)
        cli.run(
            options,
            held,
            usage=f"idgen {command} --config FILE [--config OVERLAY ...] [--KEY VALUE ...]",
            description=_DESCRIPTIONS[command],
        )
    except SystemExit:
        if termination.received is None:
            raise
    except (RuntimeError, MemoryError) as error:
        if _is_of_a_lost_process(error):
            raise LostProcessError(
                "another process of this run has ended; what that one said is the reason"
            ) from error
        if cli is None or cli.parsed is None or not _is_out_of_memory(error):
            raise
        from idgen.commands.out_of_memory import out_of_memory

        trains = command == "fit"
        raise out_of_memory(error, cli.parsed, cli.device, trains=trains) from error
    finally:
        held.drop()
        termination.restore()
    return termination.exit_code


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether memory is used up, a GPU's or the machine's."""
    of_a_cpu = isinstance(error, RuntimeError) and _OF_A_CPU in str(error)
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or of_a_cpu


def _is_of_a_lost_process(error: BaseException) -> bool:
    """Whether another process was waited for in vain; such errors have no class of their own."""
    return any(words in str(error) for words in _OF_A_LOST_PROCESS)


def _checkpoint(options: Sequence[str]) -> str | None:
    """The last checkpoint that is named, by an option or inside a config."""
    found = None
    for option, value in options_with_values(options):
        if option == "--ckpt_path":
            found = value
        elif option in ("--config", "-c"):
            path = Path(value)
            config = read_yaml(path) if path.is_file() else load_yaml(value, option)
            if isinstance(config, dict) and "ckpt_path" in config:
                found = config["ckpt_path"]
    return None if found is None else str(found)
