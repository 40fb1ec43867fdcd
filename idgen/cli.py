"""The command line: light until a command is known."""

import contextlib
import difflib
import errno
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial

from idgen import __version__
from idgen.errors import UserError
from idgen.importing import be_a_commands_process, import_model_libraries, uncollected
from idgen.shipped import with_shipped_configs
from idgen.threads import share_cores, wait_without_spinning

COMMANDS = {
    "init": "lay the configs that ship with idgen out in a folder, to change them",
    "prepare": "photos -> masks, subject-free backgrounds, features (offline, cached)",
    "fit": "train adapters on a prepared subject, scored while it trains",
    "validate": "draw and score the validation prompts of a checkpoint",
    "test": "draw and score the whole prompt suite: metrics.json, a CSV, image grids",
    "predict": "draw the config's prompts with a checkpoint",
    "sample": "draw prompts with a checkpoint, an export or a backbone, or several of them",
    "export": "write a checkpoint as files of diffusers, A1111, ComfyUI or the hub",
    "doctor": "look at a set-up before it runs: what would fail, and what mends it",
    "sweep": "search settings: Optuna over any key, then a page and best.yaml",
    "benchmark": "compare methods on several subjects: tables with intervals, report.html",
}
_LIGHT_COMMANDS = ("init",)
_TRAINER_COMMANDS = ("fit", "validate", "test", "predict")
_NUMBERS = (
    *("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"),
    *("NODE_RANK", "GROUP_RANK", "MASTER_PORT"),
)
DEBUG_VARIABLE = "IDGEN_DEBUG"
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def help_text() -> str:
    """What `idgen --help` prints."""
    lines = [f"  {name:<11}{line}" for name, line in COMMANDS.items()]
    return "\n".join(
        [
            "usage: idgen COMMAND [options]",
            "",
            "Teach a text-to-image diffusion model one subject from a few photos.",
            "",
            "commands:",
            *lines,
            "",
            "start here:",
            "  idgen fit --config configs/base.yaml",
            "  idgen test --ckpt_path runs/base/checkpoints/last.ckpt",
            '  idgen sample runs/base/checkpoints/last.ckpt "a [V] robot in the snow" --out out',
            "  idgen benchmark --config configs/benchmark/quick.yaml",
            "",
            "These configs ship with idgen. They are found by name from any folder that has none",
            "of its own, and `idgen init DIR` lays them out in DIR/configs.",
            "idgen COMMAND --help explains a command; idgen --version prints the version.",
            f"Set {DEBUG_VARIABLE}=1 for tracebacks.",
        ]
    )


def main(args: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        args: The command and its options; None takes them from the process.

    Returns:
        The exit code: 0; 1 if cells of a benchmark or one of several subjects failed, or another
        process of the run is gone; 2 for an error the user can mend; 130 after Ctrl-C; 138 and 143
        after SIGUSR1 and SIGTERM; 141 if whoever read the output stopped.
    """
    arguments = [_as_utf8(arg) for arg in (sys.argv[1:] if args is None else args)]
    if args is None:
        be_a_commands_process()
    _print_anything()
    named = " ".join(["idgen", *arguments[:1]])
    try:
        return _flushed(arguments)
    except UserError as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        print(f"{named}: error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        _drop_output()
        return 128 + signal.SIGPIPE
    except OSError as error:
        # Libraries write files too.
        if error.errno not in _DISK_FULL or os.environ.get(DEBUG_VARIABLE):
            raise
        what = "" if error.filename is None else f" {error.filename}"
        reason = f"cannot write{what}: there is no space left; free some, then run it again"
        print(f"{named}: error: {reason}", file=sys.stderr)
        _drop_output()
        return 2
    except KeyboardInterrupt:
        print(f"{named}: interrupted", file=sys.stderr)
        return 130


def _as_utf8(argument: str) -> str:
    """An argument, read as UTF-8 where the machine's encoding could not tell what it says.

    A path whose bytes are no UTF-8 stays as it is, so that it names the same file.
    """
    try:
        argument.encode()
    except UnicodeEncodeError:
        with contextlib.suppress(UnicodeDecodeError):
            return os.fsencode(argument).decode()
    return argument


def _print_anything() -> None:
    """Replaces letters that a terminal's encoding lacks, at which a progress bar would fail."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # stderr escapes them by itself
        sys.stdout.reconfigure(errors="replace")


def _flushed(arguments: list[str]) -> int:
    """Runs a command, and writes all that it printed: at the end of Python it is too late."""
    wait_without_spinning()
    try:
        return _run(*arguments[:1], options=arguments[1:])
    finally:
        sys.stdout.flush()


def _drop_output() -> None:
    """Lets go of what could not be written, which Python would try again as it ends."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        return
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(name: str = "--help", *, options: list[str]) -> int:
    if name in ("-h", "--help"):
        print(help_text())
        return 0
    if name == "--version":
        print(f"idgen {__version__}")
        return 0
    _check_numbers()
    asks_for_help = options in (["--help"], ["-h"])
    if asks_for_help and name in _TRAINER_COMMANDS:
        from idgen.commands.kept_help import print_help

        return print_help(name)
    with uncollected():
        function = command(name)
    if name not in _LIGHT_COMMANDS and not asks_for_help:
        share_cores()
    return function(with_shipped_configs(options))


def _check_numbers() -> None:
    """Refuses what a launcher would set to numbers and is none, at which Lightning fails."""
    for name in _NUMBERS:
        if not (value := os.environ.get(name, "0")).isdecimal():
            raise UserError(f"{name}={value} in the environment is no number; unset it")


def command(name: str) -> Callable[[list[str]], int]:
    """What runs a command: it takes the options, and returns the exit code.

    Args:
        name: Of the command.

    Raises:
        UserError: If there is no such command.
    """
    if name in _TRAINER_COMMANDS:
        import_model_libraries()  # before Lightning does, which imports all of torchmetrics
        from idgen.commands.train import run_trainer

        return partial(run_trainer, name)
    if name == "init":
        from idgen.commands.init import run_init

        return run_init
    if name == "prepare":
        from idgen.commands.prepare import run_prepare

        return run_prepare
    if name == "sample":
        from idgen.commands.sample import run_sample

        return run_sample
    if name == "export":
        from idgen.commands.export import run_export

        return run_export
    if name == "doctor":
        from idgen.commands.doctor import run_doctor

        return run_doctor
    if name == "benchmark":
        from idgen.commands.benchmark import run_benchmark

        return run_benchmark
    if name == "sweep":
        from idgen.commands.sweep import run_sweep

        return run_sweep
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UserError(f"no such command; {hint}there are {', '.join(COMMANDS)}")
