"""Drawings with few steps of the solver are compared with those of the run's own settings."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from idgen.cli import main
from idgen.errors import UserError
from tests.workspace import Workspace
from tools.bench import solver_steps
from tools.bench.solver_steps import SCORES, Setting, compared, table

OWN, FEWER, PLAIN = Setting(2, True), Setting(1, True), Setting(2, False)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that were run, in this process."""
    run: list[list[str]] = []

    def within(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        run.append(list(command[3:]))
        return subprocess.CompletedProcess(command, main(command[3:]), "", "refused")

    monkeypatch.setattr(subprocess, "run", within)
    return run


def test_each_run_is_tested_once_with_each_setting(
    trained: Workspace, tmp_path: Path, commands: list[list[str]]
) -> None:
    first = compared([trained.run], [OWN, FEWER, PLAIN], tmp_path)
    assert [command[4:] for command in commands] == [one.options for one in (OWN, FEWER, PLAIN)]
    assert compared([trained.run], [OWN, FEWER, PLAIN], tmp_path) == first
    assert len(commands) == 3
    (own,), (fewer,) = first[OWN].values(), first[FEWER].values()
    assert own["dino"] != fewer["dino"]


def test_scores_of_another_run_or_of_other_weights_are_not_taken(
    trained: Workspace, tmp_path: Path, commands: list[list[str]]
) -> None:
    other, output = tmp_path / "other", tmp_path / "output"
    shutil.copytree(trained.run, other)
    compared([trained.run], [FEWER], output)
    with pytest.raises(UserError, match=f"its weights are those of {trained.run}; name each run"):
        compared([trained.run, other], [FEWER], output)
    with pytest.raises(UserError, match="name each run once"):
        compared([trained.run, trained.run], [FEWER], output)
    weights = other / "checkpoints" / "last.ckpt"
    torch.save({**torch.load(weights, weights_only=False), "beside": 1}, weights)
    assert len(commands) == 1
    compared([other], [FEWER], output)
    assert len(commands) == 2


def test_a_test_that_was_cut_short_is_made_again(
    trained: Workspace, tmp_path: Path, commands: list[list[str]]
) -> None:
    first = compared([trained.run], [FEWER], tmp_path)
    (metrics,) = tmp_path.rglob("metrics.json")
    metrics.unlink()
    assert compared([trained.run], [FEWER], tmp_path)[FEWER].keys() == first[FEWER].keys()
    assert compared([trained.run], [FEWER], tmp_path)
    assert len(commands) == 2


def test_the_message_of_a_test_that_fails_is_handed_on(
    trained: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = subprocess.CompletedProcess([], 2, "", "much said\nerror: no such thing\n")
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: ended)
    with pytest.raises(UserError, match=r"idgen test .*: error: no such thing$"):
        compared([trained.run], [FEWER], tmp_path)


@pytest.mark.parametrize("steps", ["0", "-1", "x", "2.5"])
@pytest.mark.parametrize("option", ["--steps", "--own"])
def test_steps_that_are_no_count_are_refused(
    option: str, steps: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        sys, "argv", ["solver_steps", "run", "--output", "out", f"{option}={steps}"]
    )
    with pytest.raises(SystemExit):
        solver_steps.main()
    assert "steps are a whole number above 0" in capsys.readouterr().err


def test_a_run_without_weights_is_refused_before_any_is_tested(
    trained: Workspace, tmp_path: Path, commands: list[list[str]]
) -> None:
    with pytest.raises(UserError, match=r"no checkpoints/last\.ckpt; name a run's folder"):
        compared([trained.run, tmp_path], [OWN], tmp_path)
    assert not commands


def test_differences_are_paired_and_a_score_that_is_missing_is_left_empty() -> None:
    values = {"robot": 0.5, "teapot": 0.9}
    own = {(name, 0): {"dino": value, "clip_t": None} for name, value in values.items()}
    fewer = {(name, 0): {"dino": value - 0.2, "clip_t": None} for name, value in values.items()}
    console = Console(width=200, record=True)
    console.print(table({OWN: own, FEWER: fewer}, OWN))
    text = console.export_text()
    assert "0.700" in text
    assert "0.500 (-0.200 [-0.200, -0.200])" in text
    assert "clip_t" in SCORES
    assert "None" not in text
