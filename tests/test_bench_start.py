"""What tools/bench/start.py times: whole commands, and a fit until its first step."""

import json
from pathlib import Path

import pytest

from idgen.errors import UserError
from tests.workspace import Workspace
from tools.bench.start import COMMANDS, Seconds, measure, rows, timed


def test_commands_run_in_turns_in_fresh_processes(tmp_path: Path) -> None:
    found = measure(tmp_path, ["idgen --help"], 2)
    [seconds] = found.values()
    assert len(seconds) == 2
    assert all(one.processor > 0 and one.clock > 0 for one in seconds)


def test_the_table_has_medians() -> None:
    found = {"fit": [Seconds(4.0, 1.0), Seconds(9.0, 5.0), Seconds(5.0, 2.0)]}
    assert rows(found) == [["fit", "2.00", "1.00", "5.00"]]


def test_a_command_that_fails_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"idgen fti: idgen fti: error: no such command"):
        timed(tmp_path, ["fti"])


def test_a_fit_is_timed_until_its_first_step(workspace: Workspace) -> None:
    result = workspace.folder / "first_step.json"
    callback = [option for option in COMMANDS["fit to its first step"] if "callbacks" in option]
    assert len(callback) == 2
    options = [option.replace("{new}-first_step.json", str(result)) for option in callback]
    assert workspace.fit("--trainer.max_steps=2", "--trainer.limit_val_batches=0", *options) == 0
    reached = json.loads(result.read_text())
    assert set(reached) == {"clock", "processor"}
    assert all(value > 0 for value in reached.values())
