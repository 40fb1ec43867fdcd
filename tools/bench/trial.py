"""What a trial costs beside its training and drawing: a cell against the bare commands.

``python -m tools.bench.trial --output DIR`` runs, by turns, one cell of a benchmark by an engine
(``--engine local ray`` for both), and ``idgen fit`` and ``idgen test`` with the very same config as
a shell would start them. It prints and writes wall times: medians, and medians and quartiles of the
differences round by round. Cells of sweeps are the same. The first round, in which an engine starts
what it keeps, is not counted and stands by itself.
"""

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from idgen.benchmark.cell import Cell, read_json
from idgen.benchmark.config import BenchmarkConfig, Method
from idgen.benchmark.executor import Executor
from idgen.benchmark.plan import Plan, make_plan
from idgen.benchmark.running import executing, run_cells
from idgen.errors import UserError
from idgen.files import atomic_write
from idgen.threads import available_cores
from tools.command import run, run_module

BARE = "bare"
_PROMPTS = ["a [V] {class_noun} in the snow", "a photo of a [V] {class_noun}"]


def measure(config: BenchmarkConfig, engines: Sequence[str], rounds: int) -> dict[str, Any]:
    """Times rounds of all engines and of the bare commands, by turns.

    Args:
        config: Of one method and one subject, with a seed a round and one more.
        engines: Of `local` and `ray`.
        rounds: That count.

    Returns:
        Seconds of each round by kind, of the first round and of the engines' start.

    Raises:
        UserError: If a cell or a command fails, or they come to other scores.
    """
    output = Path(config.output)
    plans: dict[str, tuple[Plan, Executor]] = {}
    started: dict[str, float] = {}
    times: dict[str, list[float]] = {kind: [] for kind in (BARE, *engines)}
    with ExitStack() as held:
        for engine in engines:
            began = time.perf_counter()
            own = {**vars(config), "engine": engine, "output": str(output / engine)}
            plan = make_plan(BenchmarkConfig(**own))
            jobs = 1 if engine == "local" else None
            executor = held.enter_context(executing(plan.config, jobs, plan.folder))
            started[engine] = time.perf_counter() - began
            run_cells(executor, plan.preparations(), "preparing")
            plans[engine] = plan, executor
        for number in range(rounds + 1):
            kinds = [BARE, *engines]
            first = number % len(kinds)
            for kind in kinds[first:] + kinds[:first]:
                # Everyone has the config of the first engine's, but for folders.
                plan, executor = plans[engines[0] if kind == BARE else kind]
                cell, began = plan.cells[number].cell, time.perf_counter()
                if kind == BARE:
                    _run_bare(cell, output / BARE / str(number))
                else:
                    _run_cell(cell, executor)
                times[kind].append(time.perf_counter() - began)
            check_same(output, number, {e: plans[e][0].cells[number].cell for e in engines})
    return {
        "seconds": {kind: taken[1:] for kind, taken in times.items()},
        "first": {kind: taken[0] for kind, taken in times.items()},
        "start": started,
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "cores": available_cores(),
        "torch": torch.__version__,
    }


def _run_cell(cell: Cell, executor: Executor) -> None:
    with closing(executor.run([cell])) as outcomes:
        for outcome in outcomes:
            if outcome.reason:
                raise UserError(f"{cell.name}: {outcome.reason}")


def _run_bare(cell: Cell, folder: Path) -> None:
    folder.mkdir(parents=True)
    config, last = folder / "config.yaml", folder / "run" / "checkpoints" / "last.ckpt"
    config.write_text("".join(cell.files.values()), encoding="utf-8")
    given = [f"--config={config}", f"--trainer.default_root_dir={folder / 'run'}"]
    for command in (
        ["fit", *given],
        ["test", f"--ckpt_path={last}", *given, f"--drawings.output={folder / 'test'}"],
    ):
        run_module("idgen", *command)


def check_same(output: Path, number: int, cells: Mapping[str, Cell]) -> None:
    """Refuses to time what is not the same work: it comes to other scores.

    Args:
        output: The folder of all.
        number: Of the round.
        cells: What each engine ran.

    Raises:
        UserError: If an engine's score is not that of the bare commands.
    """
    bare = read_json(output / BARE / str(number) / "test" / "metrics.json") or {}
    for engine, cell in cells.items():
        other = read_json(cell.folder / "test" / "metrics.json") or {}
        if bare["dino"] != other["dino"]:
            raise UserError(
                f"round {number}: dino is {bare['dino']} bare, {other['dino']} {engine}"
            )


def rows(found: Mapping[str, Any]) -> list[list[str]]:
    """The lines of the table: the bare commands, then each engine."""
    bare = found["seconds"][BARE]
    lines = [[BARE, str(len(bare)), f"{median(bare):.2f}", "", f"{found['first'][BARE]:.2f}", ""]]
    for engine, start in found["start"].items():
        taken = found["seconds"][engine]
        over = [one - other for one, other in zip(taken, bare, strict=True)]
        lines.append(
            [
                engine,
                str(len(taken)),
                f"{median(taken):.2f}",
                _spread(over),
                f"{found['first'][engine]:.2f}",
                f"{start:.2f}",
            ]
        )
    return lines


def _spread(values: Sequence[float]) -> str:
    if len(values) < 2:
        return f"{median(values):+.2f}"
    low, _, high = quantiles(values, n=4)
    return f"{median(values):+.2f} ({low:+.2f} to {high:+.2f})"


def _config(args: argparse.Namespace) -> BenchmarkConfig:
    return BenchmarkConfig(
        configs=args.config,
        methods={"ours": Method()},
        reference="ours",
        output=str(args.output.absolute()),
        subjects=[args.subject],
        seeds=list(range(args.rounds + 1)),
        steps=args.steps,
        prompts=_PROMPTS,
        images=1,
        settings={"trainer.limit_val_batches": 0, "checkpoint.keep": 0},
    )


def main() -> None:
    """Measure all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="a new folder for the results")
    parser.add_argument("--engine", nargs="+", choices=("local", "ray"), default=["local"])
    parser.add_argument("--rounds", type=int, default=5, help="timed cells of each kind")
    parser.add_argument("--steps", type=int, default=10, help="of each training")
    parser.add_argument("--subject", default="mini:200", help="of the mini world")
    parser.add_argument("--config", nargs="+", default=["configs/base.yaml"], help="of idgen fit")
    args = parser.parse_args()
    if args.rounds < 1:
        raise UserError("--rounds must be 1 or more")
    if args.output.exists() and any(args.output.iterdir()):
        raise UserError(f"--output: {args.output} is not empty; name a new folder")
    found = measure(_config(args), list(dict.fromkeys(args.engine)), args.rounds)
    atomic_write(args.output / "trial.json", json.dumps(found, indent=1).encode())
    table = Table("kind", "rounds", "s a trial", "s over bare", "s of the first", "s to start")
    for line in rows(found):
        table.add_row(*line)
    Console(width=110).print(table)


if __name__ == "__main__":
    run(main)
