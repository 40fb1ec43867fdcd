"""Commands of idgen as forks: what they say, how they end, and that they can be told to."""

import os
import sys
from pathlib import Path

import pytest
import torch

from idgen.benchmark.forked import ForkedCommand, can_fork
from idgen.benchmark.run_cell import Processes
from idgen.locks import BusyError, locked
from tests.benchmark.test_executor import until

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or torch.cuda.device_count() > 0, reason="commands fork there alone"
)
IDGEN = (sys.executable, "-m", "idgen")


def test_commands_of_idgen_alone_are_forks() -> None:
    assert can_fork((*IDGEN, "fit"))
    assert not can_fork((sys.executable, "-m", "other"))
    assert not can_fork(("python", "-m", "idgen"))


def test_it_ends_as_a_process_would_and_says_so_in_its_log(tmp_path: Path) -> None:
    for words, code, said in (
        (("--version",), 0, "idgen "),
        (("fit", "--config", "nowhere.yaml"), 2, "nowhere.yaml"),
        (("fti",), 2, "did you mean 'fit'"),
    ):
        with (tmp_path / "lock").open("ab") as kept:
            assert Processes().run((*IDGEN, *words), tmp_path / "log", kept) == code
        assert said in (tmp_path / "log").read_text()


def test_it_holds_the_lock_and_takes_signals(tmp_path: Path) -> None:
    # A pipe in the place of a config: reading it waits.
    os.mkfifo(tmp_path / "config.yaml")
    command = (*IDGEN, "benchmark", "--config", str(tmp_path / "config.yaml"))
    with (tmp_path / "log").open("wb") as log, locked(tmp_path / "lock") as kept:
        running = ForkedCommand(command, log, kept, dict(os.environ))
    with pytest.raises(BusyError), locked(tmp_path / "lock", wait=False):
        pass
    until(lambda: os.getsid(running.pid) == running.pid)
    running.send_signal(9)
    assert running.wait() == -9
    running.send_signal(9)
    with locked(tmp_path / "lock", wait=False):
        pass
