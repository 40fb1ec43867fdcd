"""Drawings with few steps of the solver are compared with those of the run's own settings."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from idgen.cli import main
from idgen.errors import UserError
from tests.workspace import Workspace
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
