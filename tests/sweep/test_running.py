"""The loop, with an executor that writes what `idgen fit` and `idgen test` would."""

import shutil
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from idgen.benchmark.cell import DONE, FAILED, Cell, Outcome, write_json
from idgen.benchmark.config import SubjectPhotos
from idgen.benchmark.executor import Executor
from idgen.errors import UserError
from idgen.sweep.checking import check_same
from idgen.sweep.config import SweepConfig
from idgen.sweep.running import run_trials
from idgen.sweep.search import make_search
from idgen.sweep.space import Parameter
from idgen.sweep.trial import Trial
from tests.workspace import Workspace

LR = "model.optimizer.init_args.lr"


class Scoring(Executor):
    """Leaves scores that follow from a cell's rate; a rate above a limit fails."""

    def __init__(self, fails_above: float = 1.0, most: int = 1000) -> None:
        self.fails_above, self.most = fails_above, most
        self.ran: list[str] = []

    def run(
        self, cells: Sequence[Cell], started: Callable[[Cell], None] = lambda cell: None
    ) -> Generator[Outcome, None, None]:
        for cell in cells:
            if len(self.ran) >= self.most:
                raise KeyboardInterrupt
            started(cell)
            yield self._one(cell)

    def _one(self, cell: Cell) -> Outcome:
        result = cell.steps[-1].result
        for folder in (cell.folder, result.parent):
            folder.mkdir(parents=True, exist_ok=True)
        if cell.name.startswith("prepare"):
            result.touch()
            write_json(cell.folder / DONE, {"key": cell.key})
            return Outcome(cell)
        self.ran.append(cell.name)
        config = yaml.safe_load(cell.files[cell.folder / "config.yaml"])
        lr = config["model"]["optimizer"]["init_args"]["lr"]
        if lr > self.fails_above:
            failure = {"key": cell.key, "reason": f"fit: diverged at {lr}", "exit_code": 1}
            write_json(cell.folder / FAILED, failure)
            return Outcome(cell, str(failure["reason"]), 1)
        write_json(result, {"dino": 1 - lr, "clip_t": lr})
        write_json(cell.folder / DONE, {"key": cell.key})
        return Outcome(cell)


def config_of(workspace: Workspace, name: str = "sweep", **changed: Any) -> SweepConfig:
    given: dict[str, Any] = {
        "configs": [str(workspace.config)],
        "space": {LR: Parameter(low=1e-4, high=1e-1, log=True)},
        "objectives": {"dino": "max"},
        "output": str(workspace.folder / name),
        "subjects": [SubjectPhotos(str(workspace.photos), "dog", live=True)],
        "steps": 2,
        "prompts": ["a [V] {class_noun} on the beach"],
        "images": 1,
        "sampler": "tpe",
        "trials": 8,
    }
    config = SweepConfig(**{**given, **changed})
    config.check()
    return config


def run(config: SweepConfig, executor: Executor) -> list[Trial]:
    return run_trials(config, make_search(config), executor, lambda trials: None)


def summary(trials: Sequence[Trial]) -> list[tuple[str, dict[str, Any], dict[str, float]]]:
    return [(trial.status, trial.values, trial.scores) for trial in trials]


def test_a_sweep_that_was_killed_ends_as_an_undisturbed_one_and_runs_nothing_twice(
    workspace: Workspace,
) -> None:
    whole = Scoring(fails_above=0.02)
    expected = run(config_of(workspace, "whole"), whole)
    assert {trial.status for trial in expected} == {"done", "failed"}
    config, ran = config_of(workspace), []
    for most in (3, 2, 1000):
        executor = Scoring(fails_above=0.02, most=most)
        if most == 1000:
            trials = run(config, executor)
        else:
            with pytest.raises(KeyboardInterrupt):
                run(config, executor)
        ran += executor.ran
    assert summary(trials) == summary(expected)
    assert ran == whole.ran
    assert len(set(ran)) == len(ran) == 8


def test_a_failing_trial_is_told_and_five_at_first_end_it(workspace: Workspace) -> None:
    executor = Scoring(fails_above=0.0)
    with pytest.raises(UserError, match=r"all of 6 trials failed; the first: .*fit: diverged at"):
        run(config_of(workspace), executor)
    assert len(executor.ran) == 6


def test_equal_values_are_run_once(workspace: Workspace) -> None:
    executor = Scoring()
    space = {LR: Parameter(values=[0.01, 0.02])}
    trials = run(config_of(workspace, space=space), executor)
    assert len(trials) == 8
    assert len(executor.ran) == 2
    again = [trial for trial in trials if trial.same_as is not None]
    assert len(again) == 6
    assert all(trial.scores == trials[trial.same_as or 0].scores for trial in again)


def test_a_poor_trial_is_not_run_on_the_other_subjects(workspace: Workspace) -> None:
    other = workspace.folder / "other"
    shutil.copytree(workspace.photos, other)
    for mask in (workspace.folder / "masks").iterdir():
        (workspace.folder / "masks" / "other").mkdir(exist_ok=True)
        if mask.is_file():
            shutil.copy(mask, workspace.folder / "masks" / "other" / mask.name)
    subjects = [
        SubjectPhotos(str(folder), "dog", live=True) for folder in (workspace.photos, other)
    ]
    executor = Scoring()
    space = {LR: Parameter(values=[0.01, 0.02, 0.03, 0.9])}
    config = config_of(
        workspace, space=space, sampler="grid", trials=None, early_stop=True, subjects=subjects
    )
    trials = run(config, executor)
    assert [trial.status for trial in trials] == ["done", "done", "stopped", "stopped"]
    assert len(executor.ran) == 2 * 2 + 2
    assert Path(config.output).is_dir()


def test_a_folder_of_a_benchmark_is_refused(workspace: Workspace) -> None:
    config = config_of(workspace, "taken")
    config.folder.mkdir(parents=True)
    (config.folder / "results.json").write_text("{}")
    with pytest.raises(UserError, match="holds a benchmark's results"):
        check_same(config)
