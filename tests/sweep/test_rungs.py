"""Trials that are stopped at rungs, as `idgen fit` would leave their scores there."""

import csv
import math
import shutil
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from idgen.benchmark.cell import DONE, RECORD, Cell, Outcome, write_json
from idgen.errors import UserError
from idgen.sweep.rungs import kept_at_rung, score_at
from tests.sweep.test_running import LR, Scoring, config_of, run
from tests.workspace import Workspace

VALUES = st.dictionaries(st.integers(0, 50), st.floats(-1, 1), min_size=1)


@given(VALUES, st.sampled_from(["max", "min"]), st.integers(2, 5))
def test_what_is_kept_is_no_worse_than_what_is_not(
    values: dict[int, float], way: str, reduction: int
) -> None:
    kept = kept_at_rung(values, way, reduction)
    assert len(kept) == math.ceil(len(values) / reduction)
    sign = 1 if way == "max" else -1
    others = values.keys() - kept
    assert all(sign * values[k] >= sign * values[o] for k in kept for o in others)


class Climbing(Scoring):
    """Leaves a validation at each rung too, whose score follows from the rate and the step."""

    def run(
        self, cells: Sequence[Cell], started: Callable[[Cell], None] = lambda cell: None
    ) -> Generator[Outcome, None, None]:
        for cell in cells:
            if "rung" not in cell.record:
                yield from super().run([cell], started)
                continue
            self.ran.append(cell.name)
            [step] = cell.steps
            assert step.command[-1] == f"--trainer.max_steps={cell.record['rung']}"
            [text] = cell.files.values()
            lr = yaml.safe_load(text)["model"]["optimizer"]["init_args"]["lr"]
            step.result.parent.mkdir(parents=True, exist_ok=True)
            with step.result.open("a", newline="") as file:
                writer = csv.writer(file)
                if file.tell() == 0:
                    writer.writerow(["step", "dino"])
                writer.writerow([cell.record["rung"], 1 - lr])
            cell.folder.mkdir(parents=True, exist_ok=True)
            write_json(cell.folder / DONE, {"key": cell.key})
            yield Outcome(cell)


def test_the_worse_half_is_not_trained_on_and_the_best_is_found(workspace: Workspace) -> None:
    executor = Climbing()
    config = config_of(workspace, rungs=[1, 2], steps=3, together=4)
    trials = run(config, executor)
    statuses = [trial.status for trial in trials]
    assert statuses.count("stopped") >= 4
    assert all("at step" in trial.reason for trial in trials if trial.status == "stopped")
    best = min(trials, key=lambda trial: trial.values[LR])
    assert best.status == "done"
    whole = [name for name in executor.ran if "to step" not in name]
    assert len(whole) == statuses.count("done") < 8
    assert sum("to step 1" in name for name in executor.ran) == 8
    settings = (best.cells[0].cell.files or {}).values()
    assert all(yaml.safe_load(t)["trainer"]["val_check_interval"] == 1 for t in settings)


def test_a_sweep_that_goes_on_runs_no_rung_twice(workspace: Workspace) -> None:
    whole = run(config_of(workspace, "whole", rungs=[1], steps=2), Climbing())
    config = config_of(workspace, "cut", rungs=[1], steps=2)
    first = Climbing(most=3)
    with pytest.raises(KeyboardInterrupt):
        run(config, first)
    second = Climbing()
    again = run(config, second)
    assert not set(first.ran) & set(second.ran)
    expected = [(trial.values, trial.status, trial.scores) for trial in whole]
    assert [(trial.values, trial.status, trial.scores) for trial in again] == expected


def test_a_score_that_validation_has_not_is_named(tmp_path: Path) -> None:
    scores = tmp_path / "scores.csv"
    scores.write_text("step,dino,clip_t\n50,0.5,\n75,nan,0.5\n")
    assert score_at(scores, 50, "dino") == 0.5
    assert score_at(scores, 50, "clip_t") is None
    assert score_at(scores, 75, "dino") is None
    assert score_at(scores, 100, "dino") is None
    with pytest.raises(UserError, match="no score 'clip_i'; it has dino, clip_t"):
        score_at(scores, 50, "clip_i")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"rungs": [2, 1]}, "do not rise in multiples of the first"),
        ({"rungs": [2, 3], "steps": 9}, "do not rise in multiples of the first"),
        ({"rungs": [0]}, "do not rise in multiples of the first"),
        ({"rungs": [2]}, "more than the last rung, 2"),
        ({"rungs": [1], "early_stop": True}, "no early_stop beside them"),
        ({"rungs": [1], "objectives": {"dino": "max", "clip_t": "max"}}, "need one objective"),
        ({"reduction": 1}, "reduction must be 2 or more"),
        (
            {"rungs": [1], "settings": {"trainer.limit_val_batches": 0}},
            r"leave out trainer\.limit_val_batches",
        ),
    ],
)
def test_rungs_that_contradict_the_rest_are_refused(
    workspace: Workspace, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        config_of(workspace, **changed)


def test_removed_folders_are_trained_again(workspace: Workspace) -> None:
    config = config_of(workspace, "gone", rungs=[1], steps=2, trials=2)
    trials = run(config, Climbing())
    shutil.rmtree(trials[0].cells[0].cell.folder)
    again = Climbing()
    assert [t.status for t in run(config, again)] == [t.status for t in trials]
    assert again.ran
    assert all(trials[0].cells[0].cell.name in name for name in again.ran)


def test_a_run_of_another_record_is_not_trained_on(workspace: Workspace) -> None:
    """As after a change of the photos: the run lies beside the rungs."""
    config = config_of(workspace, "other", rungs=[1], steps=2, trials=2)
    trials = run(config, Climbing())
    stopped = next(trial for trial in trials if trial.status == "stopped")
    folder = stopped.cells[0].cell.folder
    kept = folder / "run" / "validation" / "scores.csv"
    assert kept.exists()
    record = folder / RECORD
    record.write_text(record.read_text().replace('"seed": 0', '"seed": 1'))
    again = Climbing()
    run(config, again)
    assert any("to step 1" in name and f"trial {stopped.number} " in name for name in again.ran)
