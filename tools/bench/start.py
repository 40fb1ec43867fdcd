"""How long idgen takes to start, by what is asked of it.

``python -m tools.bench.start --output DIR`` prepares a subject, a short run and an export there,
then runs each command in fresh processes, one after the other and that again and again, so that
whatever else the machine does falls on all of them. It prints and writes (`start.json`) medians of
seconds by the clock and of processor seconds, which other work on the machine changes little.
"""

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from tools.command import run, run_module

_ROOT = Path(__file__).parents[2]
_FIRST_STEP = "first_step.json"
_FIT = ("fit", "--config=configs/base.yaml", "--trainer.max_steps=1")
_TO_FIRST_STEP = (
    *_FIT,
    "--trainer.default_root_dir={new}",
    "--trainer.callbacks+=tools.bench.first_step.FirstStep",
    f"--trainer.callbacks.result={{new}}-{_FIRST_STEP}",
)
_SAMPLE = ("a [V] robot in the snow", "-n1", "--out={new}")
_SCRIPT = "tools.bench.by_diffusers"
_UNDRAWN = "--trainer.limit_val_batches=0"
# {new} is a path of its own for each run; all else lies in the folder of the results.
COMMANDS: Mapping[str, Sequence[str]] = {
    "idgen --help": ("--help",),
    "fit --help": ("fit", "--help"),
    "fit to its first step": _TO_FIRST_STEP,
    "fit to its first step, nothing drawn before": (*_TO_FIRST_STEP, _UNDRAWN),
    "sample, a checkpoint": ("sample", "run", *_SAMPLE),
    "sample, an export": ("sample", "export", *_SAMPLE),
    "the same picture by a script of diffusers": (_SCRIPT, "{new}"),
}
_PREPARING = (
    (*_FIT, _UNDRAWN, "--trainer.default_root_dir=run"),
    ("export", "run/checkpoints/last.ckpt", "--format=diffusers", "--output=export"),
)
# What idgen keeps of one call for the next, until its code changes.
_KEEPING = (("fit", "--help"), _TO_FIRST_STEP)


class Seconds(NamedTuple):
    """What a command took."""

    clock: float
    processor: float


def prepare(folder: Path) -> None:
    """Makes what the commands start from, where it is missing, and what idgen keeps.

    Raises:
        UserError: If it cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "export").exists():
        for options in _PREPARING:
            timed(folder, options)
    for kept in _KEEPING:
        timed(folder, kept)


def timed(folder: Path, options: Sequence[str]) -> Seconds:
    """One command in a process of its own; for a fit until its first step, if that is noted.

    Args:
        folder: It runs there.
        options: Its name and options; {new} in them becomes a path where nothing is yet.

    Raises:
        UserError: If it fails.
    """
    new = folder / f"run-{time.monotonic_ns()}"
    filled = [option.replace("{new}", str(new)) for option in options]
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    module = [] if filled[0] == _SCRIPT else ["idgen"]
    before, began = os.times(), time.monotonic()
    run_module(*module, *filled, cwd=folder, env=environment)
    clock, after = time.monotonic() - began, os.times()
    reached = new.with_name(f"{new.name}-{_FIRST_STEP}")
    if reached.exists():
        noted = json.loads(reached.read_text())
        return Seconds(noted["clock"] - began, noted["processor"])
    of_children = (after.children_user, after.children_system)
    return Seconds(clock, sum(of_children) - before.children_user - before.children_system)


def measure(folder: Path, names: Sequence[str], times: int) -> dict[str, list[Seconds]]:
    """Each command as many times, in turns.

    Args:
        folder: Of `prepare`.
        names: Of `COMMANDS`.
        times: How often each.
    """
    found: dict[str, list[Seconds]] = {name: [] for name in names}
    for _ in range(times):
        for name in names:
            found[name].append(timed(folder, COMMANDS[name]))
    return found


def rows(found: Mapping[str, Sequence[Seconds]]) -> list[list[str]]:
    """The lines of the table."""
    return [
        [
            name,
            f"{median(one.processor for one in seconds):.2f}",
            f"{min(one.processor for one in seconds):.2f}",
            f"{median(one.clock for one in seconds):.2f}",
        ]
        for name, seconds in found.items()
    ]


def main() -> None:
    """Measure all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="a folder for runs and results")
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--times", type=int, default=5, help="runs of each command")
    args = parser.parse_args()
    folder = args.output.absolute()
    prepare(folder)
    found = measure(folder, args.commands, args.times)
    plain = {name: [one._asdict() for one in seconds] for name, seconds in found.items()}
    (folder / "start.json").write_text(json.dumps(plain, indent=1))
    table = Table("command", "processor s", "least", "clock s")
    for row in rows(found):
        table.add_row(*row)
    Console(width=100).print(table)


if __name__ == "__main__":
    run(main)
