"""The loop of a sweep: ask for trials, run what is missing of them, tell what came out."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

from idgen.benchmark.executor import Executor
from idgen.benchmark.plan import Plan, PlannedCell, make_plan
from idgen.benchmark.results import read_result
from idgen.benchmark.running import run_plan
from idgen.errors import UserError
from idgen.pages.scores import find_scores
from idgen.sweep.config import SweepConfig
from idgen.sweep.rungs import run_rung
from idgen.sweep.search import Search
from idgen.sweep.trial import Trial

_HOPELESS = 5
"""So many trials that fail before any succeeds end the sweep."""


def run_trials(
    config: SweepConfig,
    search: Search,
    executor: Executor,
    told: Callable[[Sequence[Trial]], None],
) -> list[Trial]:
    """Runs the sweep to its end; finished cells of an earlier run cost nothing.

    Args:
        config: Checked.
        search: New.
        executor: Runs cells.
        told: Told of all trials after each batch.

    Returns:
        The trials, in their order.

    Raises:
        UserError: If the first five trials fail, an objective is no score, or a trial cannot be
            made.
    """
    trials: list[Trial] = []
    rungs: dict[int, dict[int, float]] = {steps: {} for steps in config.rungs}
    while len(trials) < config.count:
        size = min(config.together, config.count - len(trials))
        batch = [Trial(len(trials) + at, search.ask()) for at in range(size)]
        _run_batch(config, search, executor, trials, batch, rungs)
        trials += batch
        told(trials)
        failed = [trial for trial in trials if trial.status == "failed"]
        if len(failed) >= min(_HOPELESS, config.count) and len(failed) == len(trials):
            raise UserError(f"all of {len(trials)} trials failed; the first: {failed[0].reason}")
    return trials


def _run_batch(
    config: SweepConfig,
    search: Search,
    executor: Executor,
    before: Sequence[Trial],
    batch: Sequence[Trial],
    rungs: dict[int, dict[int, float]],
) -> None:
    known = {_values_key(trial): trial for trial in before}
    fresh: list[Trial] = []
    for trial in batch:
        first = known.setdefault(_values_key(trial), trial)
        if first is trial:
            fresh.append(trial)
        else:
            trial.same_as = first.number
    if fresh:
        plan = make_plan(config.benchmark({t.name: config.method(t.values) for t in fresh}))
        for trial in fresh:
            trial.cells = [cell for cell in plan.cells if cell.method == trial.name]
        for at, (steps, reached) in enumerate(rungs.items()):
            run_rung(config, executor, plan, fresh, steps, reached)
            for number in sorted(reached.keys() & {trial.number for trial in fresh}):
                search.report(number, reached[number], at)
        rounds = _rounds(plan, config.early_stop)
        for at, cells in enumerate(rounds):
            _run_round(config, executor, plan, fresh, cells)
            if config.early_stop and at + 1 < len(rounds):
                _stop_poor(config, search, fresh, at)
    _tell(config, search, {trial.number: trial for trial in (*before, *batch)}, batch)


def _rounds(plan: Plan, early_stop: bool) -> list[list[PlannedCell]]:
    """The cells to run together: all, or subject by subject where trials may be stopped."""
    if not early_stop:
        return [list(plan.cells)]
    names = dict.fromkeys(cell.subject.name for cell in plan.cells)
    return [[cell for cell in plan.cells if cell.subject.name == name] for name in names]


def _run_round(
    config: SweepConfig,
    executor: Executor,
    plan: Plan,
    trials: Sequence[Trial],
    cells: Sequence[PlannedCell],
) -> None:
    going = {trial.name: trial for trial in trials if trial.status == "running"}
    own = [cell for cell in cells if cell.method in going]
    # What failed is written down and is not tried again: later trials were chosen knowing it.
    left = [cell for cell in own if cell.cell.failure() is None]
    run_plan(replace(plan, cells=tuple(left)), executor)
    for cell in own:
        trial, result = going[cell.method], read_result(cell)
        if result.status == "done":
            trial.results.append(result)
        elif result.status == "failed":
            trial.status, trial.reason = "failed", f"{result.name}: {result.reason}"
        else:
            raise UserError(f"{result.name} was not finished; run the same command again")


def _stop_poor(config: SweepConfig, search: Search, trials: Sequence[Trial], at: int) -> None:
    """Stops trials under the median after a subject that is not the last."""
    (objective,) = config.objectives
    for trial in trials:
        value = trial.mean(objective)
        if trial.status != "running" or value is None:
            continue
        if search.report(trial.number, value, at):
            trial.status, trial.reason = "stopped", f"under the median after {at + 1} subjects"


def _tell(
    config: SweepConfig, search: Search, by_number: dict[int, Trial], batch: Sequence[Trial]
) -> None:
    for trial in batch:
        if trial.same_as is not None:
            first = by_number[trial.same_as]
            trial.status, trial.reason, trial.scores = first.status, first.reason, first.scores
        elif trial.status == "running":
            _check_objectives(config, trial)
            trial.finish(list(config.objectives))
        done = trial.status == "done"
        values = [trial.scores[name] for name in config.objectives] if done else None
        search.tell(trial.number, values, stopped=trial.status == "stopped")


def _check_objectives(config: SweepConfig, trial: Trial) -> None:
    """Refuses an objective that `idgen test` does not write."""
    keys = {key for result in trial.results for key in result.metrics}
    for name in config.objectives:
        if name not in keys:
            known = find_scores([result.metrics for result in trial.results])
            raise UserError(
                f"objectives: trials have no score {name!r}; there are {', '.join(known)}"
            )


def _values_key(trial: Trial) -> str:
    return json.dumps(trial.values, sort_keys=True, default=str)
