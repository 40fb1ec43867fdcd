"""Poor trials stopped early: trained to a rung, compared by validation, trained on or not."""

import csv
import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from idgen.benchmark.cell import RECORD, Cell, read_json, write_json
from idgen.benchmark.executor import Executor
from idgen.benchmark.plan import Plan, PlannedCell
from idgen.benchmark.running import run_cells
from idgen.errors import UserError
from idgen.sweep.config import SweepConfig
from idgen.sweep.trial import Trial


def kept_at_rung(values: Mapping[int, float], way: str, reduction: int) -> set[int]:
    """The trials that are trained on: the best part of all that have reached a rung so far.

    Successive halving (Jamieson & Talwalkar 2016) over all trials yet, as ASHA has it (Li et al.
    2020), but a batch of trials at a time, so that what is stopped does not depend on which
    machine was faster.

    Args:
        values: The objective at this rung by trial number, of earlier batches too.
        way: `max` or `min`.
        reduction: One in so many is kept, rounded up.

    Returns:
        Their numbers.
    """
    best_first = sorted(values, key=lambda number: (values[number], -number), reverse=way == "max")
    return set(best_first[: math.ceil(len(best_first) / reduction)])


def run_rung(
    config: SweepConfig,
    executor: Executor,
    plan: Plan,
    trials: list[Trial],
    steps: int,
    reached: dict[int, float],
) -> None:
    """Trains trials to a rung and stops those that are not among the best there.

    Args:
        config: The sweep's, with one objective.
        executor: Runs cells.
        plan: Of the trials' whole cells.
        trials: Of this batch; those that have failed or were stopped are left alone.
        steps: The rung.
        reached: The objective at this rung of the trials before, by number; added to.

    Raises:
        UserError: If a cell was not finished, or validation has no such score.
    """
    (objective, way) = next(iter(config.objectives.items()))
    going = {trial.name: trial for trial in trials if trial.status == "running"}
    planned = [cell for cell in plan.cells if cell.method in going]
    cells = {cell.cell.folder: rung_cell(cell, steps) for cell in planned}
    left = [cell for cell in cells.values() if cell.failure() is None]
    for cell in planned:
        _claim(cell.cell)
    run_cells(executor, plan.preparations(), "preparing")
    ready = [c for c in planned if cells[c.cell.folder].is_done() or c.preparation.is_done()]
    left = [cells[cell.cell.folder] for cell in ready]
    left = [cell for cell in left if cell.failure() is None]
    run_cells(executor, left, f"training to step {steps}")
    found: dict[str, list[float]] = {}
    for cell in planned:
        trial, rung = going[cell.method], cells[cell.cell.folder]
        failure = rung.failure() or cell.preparation.failure()
        if failure is not None:
            trial.status, trial.reason = "failed", f"{rung.name}: {failure['reason']}"
            continue
        if not rung.is_done():
            raise UserError(f"{rung.name} was not finished; run the same command again")
        value = score_at(rung.steps[0].result, steps, objective)
        if value is None:
            trial.status = "failed"
            trial.reason = f"{rung.name}: validation has no {objective} that is a number"
        else:
            found.setdefault(trial.name, []).append(value)
    own = {t.number: fmean(found[t.name]) for t in going.values() if t.status == "running"}
    reached |= own
    kept = kept_at_rung(reached, way, config.reduction)
    for trial in going.values():
        if trial.status == "running" and trial.number not in kept:
            share = f"the best 1 in {config.reduction}"
            trial.status, trial.reason = "stopped", f"not of {share} at step {steps}"


def rung_cell(planned: PlannedCell, steps: int) -> Cell:
    """A cell that trains to a rung, in the run's own folder, from where the rung before ended.

    Args:
        planned: The whole cell.
        steps: The rung.
    """
    whole = planned.cell
    scores = whole.folder / "run" / "validation" / "scores.csv"
    fit = whole.steps[0]
    command = (*fit.command, f"--trainer.max_steps={steps}")
    return Cell(
        f"{whole.name} to step {steps}",
        whole.folder / "rungs" / str(steps),
        {**whole.record, "rung": steps},
        (replace(fit, command=command, result=scores, verify=None),),
        whole.files,
        beside=(whole.folder / "run",),
    )


def _claim(whole: Cell) -> None:
    """Empties a cell's folder of a run with another record, and notes whose it is from now on.

    The run lies in the whole cell's folder, and rungs only know their own.
    """
    if read_json(whole.folder / RECORD) != json.loads(json.dumps(whole.record)):
        shutil.rmtree(whole.folder, ignore_errors=True)
        whole.folder.mkdir(parents=True)
        write_json(whole.folder / RECORD, whole.record)


def score_at(scores: Path, steps: int, objective: str) -> float | None:
    """A score of the validation after a step.

    Args:
        scores: A run's `scores.csv`.
        steps: The step.
        objective: The score.

    Returns:
        None where there was no such validation, or its score is no finite number.

    Raises:
        UserError: If validations have no such score.
    """
    with scores.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if rows and objective not in rows[-1]:
        has = ", ".join(name for name in rows[-1] if name != "step")
        raise UserError(f"objectives: validation has no score {objective!r}; it has {has}")
    found = [row[objective] for row in rows if row["step"] == str(steps)]
    value = float(found[-1] or "nan") if found else math.nan
    return value if math.isfinite(value) else None
