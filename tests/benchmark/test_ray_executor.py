"""Cells as Ray's tasks, on a cluster of this machine: tiny scripts in place of fit and test."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from idgen.benchmark.cell import Cell
from idgen.benchmark.executor import Executor, LocalExecutor
from idgen.benchmark.ray_executor import RayExecutor, _run_remote, check_resources
from idgen.errors import UserError
from tests.benchmark.test_executor import calls, make_cell, until


@pytest.fixture(scope="module")
def executor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayExecutor]:
    """One cluster for all: it takes seconds to start."""
    made = RayExecutor(tmp_path_factory.mktemp("seen"))
    yield made
    made.close()


def test_cells_come_out_as_on_this_machine(tmp_path: Path, executor: RayExecutor) -> None:
    found = {}
    engines: dict[str, Executor] = {"local": LocalExecutor(2, 2), "ray": executor}
    for name, own in engines.items():
        folder = tmp_path / name
        folder.mkdir()
        bad = make_cell(folder, "bad", "--exit=2", "--say=no photo")
        started: list[Cell] = []
        outcomes = own.run([make_cell(folder, "a"), bad, make_cell(folder, "b")], started.append)
        found[name] = {o.cell.name: (o.reason, o.exit_code, o.cell.is_done()) for o in outcomes}
        assert sorted(cell.name for cell in started) == ["a", "b", "bad"]
        assert len(calls(folder)) == 2
    assert found["ray"] == found["local"]
    assert found["ray"]["bad"] == ("fit: no photo", 2, False)


def test_a_finished_cell_is_not_run_again(tmp_path: Path, executor: RayExecutor) -> None:
    cell = make_cell(tmp_path)
    for _ in range(2):
        assert [outcome.reason for outcome in executor.run([cell])] == [""]
    assert len(calls(tmp_path)) == 2


def test_a_cell_whose_worker_is_killed_is_run_again(tmp_path: Path, executor: RayExecutor) -> None:
    go = tmp_path / "go"
    cell = make_cell(tmp_path, "a", f"--wait={go}")

    def kill() -> None:
        until(lambda: len(calls(tmp_path)) == 1)
        os.kill(parent_of(f"--calls={tmp_path / 'a.calls'}"), signal.SIGKILL)
        go.touch()

    killer = threading.Thread(target=kill)
    killer.start()
    (outcome,) = executor.run([cell])
    killer.join()
    assert not outcome.reason
    assert cell.is_done()


def parent_of(argument: str) -> int:
    """The process that started the one with that argument."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if argument.encode() in path.read_bytes().split(b"\0"):
                status = path.with_name("status").read_text()
                return int(status.partition("PPid:")[2].split()[0])
    raise AssertionError(f"no process with {argument}")


def test_a_machine_that_does_not_see_the_folder_says_so_and_runs_nothing(tmp_path: Path) -> None:
    ended = _run_remote(make_cell(tmp_path), (str(tmp_path / "elsewhere" / "token"), "mark"), "1")
    assert ended == (None, None)
    assert not calls(tmp_path)


def test_what_a_cell_needs_is_carried_there_and_what_it_left_home(
    tmp_path: Path, executor: RayExecutor
) -> None:
    """The workers do not see the token, as if they were elsewhere."""
    token = executor._folder / ".seen-by-all-machines"
    bad = make_cell(tmp_path, "bad", "--exit=2", "--say=no photo")
    cells = [make_cell(tmp_path), bad]
    outcomes = {o.cell.name: o for o in executor.run(cells, lambda cell: token.unlink(True))}
    assert not outcomes["a"].reason
    assert cells[0].is_done()
    assert (cells[0].folder / "fit.log").exists()
    assert outcomes["bad"].reason == "fit: no photo"
    assert bad.failure() is not None


def test_more_than_the_cluster_has_is_refused() -> None:
    have = {"CPU": 4.0, "GPU": 1.0}
    check_resources(have, 4.0, 0.5)
    with pytest.raises(UserError, match="asks for 1 cores and 2 GPUs, and the cluster has 4 and 1"):
        check_resources(have, 1.0, 2.0)
    with pytest.raises(UserError, match="asks for 8 cores"):
        check_resources(have, 8.0, 0.0)


def test_no_ray_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'idgen\[cluster\]'"):
        RayExecutor(tmp_path)


def test_no_cluster_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(**options: object) -> None:
        # What Ray does after half a minute of waiting.
        raise ConnectionError("ray client connection timeout")

    monkeypatch.setattr("ray.init", refusing)
    with pytest.raises(UserError, match=r"no cluster at ray://127\.0\.0\.1:9 \(ray client"):
        RayExecutor(tmp_path, "ray://127.0.0.1:9")
