import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from idgen.threads import available_cores, share_cores, wait_without_spinning
from tests.workspace import Workspace


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on eight cores, without a word about threads in the environment."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        # Set first, so that what the test leaves behind is taken back.
        monkeypatch.setenv(name, "1")
        monkeypatch.delenv(name)
    monkeypatch.setattr("idgen.threads.available_cores", lambda: 8)
    taken: list[int] = [1]
    monkeypatch.setattr(torch, "set_num_threads", taken.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: taken[-1])


@pytest.mark.usefixtures("free")
@pytest.mark.parametrize(("processes", "threads"), [(1, 8), (3, 2), (20, 1)])
def test_processes_share_the_cores(processes: int, threads: int) -> None:
    assert share_cores(processes).startswith(f"CPU threads: {threads} on cores: 8")
    given = os.environ.get("OMP_NUM_THREADS")
    assert given == (None if processes == 1 else str(threads))


@pytest.mark.usefixtures("free")
@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_the_environment_wins(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "5")
    assert f"as {name} says" in share_cores(2)
    assert torch.get_num_threads() == 1  # untouched
    assert os.environ[name] == "5"


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 6),
        ({"cpu.max": "max 100000"}, 6),
        ({"cpu.max": "250000 100000"}, 2),
        ({"cpu.max": "max 100000", "a/cpu.max": "400000 100000", "a/b/cpu.max": "max 100000"}, 4),
        ({"a/b/cpu.max": "50000 100000"}, 1),
        ({"a/b/cpu.max": "900000 100000"}, 6),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 6),
    ],
)
def test_a_containers_share_is_what_there_is(
    files: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(6)), raising=False)
    for name, content in files.items():
        path = tmp_path / "cgroups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    (tmp_path / "own").write_text("0::/a/b\n")
    assert available_cores(tmp_path / "cgroups", tmp_path / "own") == cores


@pytest.mark.parametrize("said", ["OMP_WAIT_POLICY", "KMP_BLOCKTIME", "GOMP_SPINCOUNT"])
def test_who_says_how_to_wait_is_left_alone(said: str) -> None:
    environment = {said: "as I say"}
    wait_without_spinning(environment)
    assert environment == {said: "as I say"}


def test_threads_wait_without_spinning_before_torch_is_there() -> None:
    code = (
        "import os, sys, idgen.cli\n"
        "def seen(command, *, options):\n"
        "    print('torch' in sys.modules, os.environ['OMP_WAIT_POLICY'])\n"
        "    return 0\n"
        "idgen.cli._run = seen\n"
        "idgen.cli.main(['fit'])"
    )
    names = ("OMP_WAIT_POLICY", "KMP_BLOCKTIME", "GOMP_SPINCOUNT")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert printed.stdout.split() == ["False", "PASSIVE"]


def test_fit_says_its_threads_in_one_line(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    assert workspace.fit("--trainer.max_steps=1", "--trainer.val_check_interval=1") == 0
    lines = [line for line in caplog.messages if line.startswith("CPU threads: ")]
    assert lines == [f"CPU threads: 1 on cores: {available_cores()} (as OMP_NUM_THREADS says)"]
