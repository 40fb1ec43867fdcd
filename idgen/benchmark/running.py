"""Runs what is left of cells on this machine, with progress, one command in a folder at a time."""

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import torch

from idgen.benchmark.cell import Cell, Outcome
from idgen.benchmark.executor import Executor, LocalExecutor
from idgen.benchmark.plan import Plan
from idgen.benchmark.progress import CellProgress
from idgen.errors import UserError
from idgen.locks import BusyError, locked
from idgen.threads import available_cores

_MOST_JOBS = 4


class Engine(Protocol):
    """Where cells run, as configs say it.

    Attributes:
        engine: `local` or `ray`.
        address: Of the Ray cluster.
        cpus_per_trial: Cores of a cell, with Ray.
        gpus_per_trial: GPUs of a cell, with Ray.
    """

    @property
    def engine(self) -> str: ...  # noqa: D102
    @property
    def address(self) -> str | None: ...  # noqa: D102
    @property
    def cpus_per_trial(self) -> float: ...  # noqa: D102
    @property
    def gpus_per_trial(self) -> float: ...  # noqa: D102


def check_engine(where: Engine) -> None:
    """Refuses what the engine cannot do.

    Raises:
        UserError: If Ray's settings are given without Ray, or a number is out of range.
    """
    numbers = where.cpus_per_trial, where.gpus_per_trial
    if not all(map(math.isfinite, numbers)) or numbers[0] <= 0 or numbers[1] < 0:
        raise UserError("cpus_per_trial has to be above 0, and gpus_per_trial 0 or more")
    if numbers[1] > 1 and numbers[1] % 1:
        raise UserError("gpus_per_trial: above 1 it has to be whole")
    if where.engine == "local" and (where.address is not None or where.gpus_per_trial):
        raise UserError(
            "address and gpus_per_trial are Ray's: add --engine ray, or leave them out "
            "(the engine local gives each cell one GPU)"
        )


def run_plan(plan: Plan, executor: Executor) -> None:
    """Prepares the subjects of unfinished cells, then runs those whose subject is prepared."""
    run_cells(executor, plan.preparations(), "preparing")
    here = [planned for planned in plan.cells if planned.recorded is None]
    ready = [c.cell for c in here if c.cell.is_done() or c.preparation.is_done()]
    if plan.records is None:
        run_cells(executor, ready, "running")
        return
    for cell in ready:
        if cell.is_done():
            plan.records.keep(cell)
    run_cells(executor, ready, "running", plan.records.keep)


def run_cells(
    executor: Executor,
    cells: Sequence[Cell],
    what: str,
    keep: Callable[[Cell], None] = lambda cell: None,
) -> list[Outcome]:
    """Runs what is left of cells, and keeps each that is finished.

    Args:
        executor: Where they run.
        cells: All of them; finished ones cost nothing.
        what: What the progress says of them, such as `running`.
        keep: Told of each that ends well.

    Returns:
        The outcomes of those that were run.
    """
    left = [cell for cell in cells if not cell.is_done()]
    if not left:
        return []
    found = []
    progress = CellProgress(what, len(cells), len(cells) - len(left))
    with progress, contextlib.closing(executor.run(left, progress.started)) as outcomes:
        try:
            for outcome in outcomes:
                if not outcome.reason:
                    keep(outcome.cell)
                progress.ended(outcome)
                found.append(outcome)
        except (KeyboardInterrupt, SystemExit):
            progress.say("stopping: trainings under way save first; run it again to go on")
            raise
    return found


@contextlib.contextmanager
def executing(where: "Engine", jobs: int | None, folder: Path) -> Iterator[Executor]:
    """What runs cells, for as long as the context lasts.

    Args:
        where: Which engine, and how much each cell gets.
        jobs: Cells at a time on this machine; None for one for each GPU, without any one for each
            core, 4 at most. Ray decides that by itself.
        folder: Of the results.

    Raises:
        UserError: If there is no such cluster, or it can never place a cell.
    """
    if where.engine == "ray":
        from idgen.benchmark.ray_executor import RayExecutor

        if jobs is not None:
            raise UserError("jobs: Ray decides how many cells run at a time; leave it out")
        ray = RayExecutor(folder, where.address, where.cpus_per_trial, where.gpus_per_trial)
        with contextlib.closing(ray):
            yield ray
        return
    cores, gpus = available_cores(), _visible_gpus()
    yield LocalExecutor(jobs or len(gpus) or min(cores, _MOST_JOBS), cores, gpus)


def _visible_gpus() -> list[str]:
    found = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(found)))
    return [name.strip() for name in named.split(",")][:found]


@contextlib.contextmanager
def alone(folder: Path, what: str, key: str = "--output") -> Iterator[None]:
    """Keeps a folder to one command at a time.

    Args:
        folder: Made if there is none.
        what: What the command is called, such as `benchmark`.
        key: The option that names the folder.

    Raises:
        UserError: If another one is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder / "lock", wait=False):
            yield
    except BusyError as error:
        raise UserError(
            f"another {what} is at work in {folder}; wait for it, or name another folder with {key}"
        ) from error
