"""A disk that fills up is one line, and never exit code 0."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tensorboard.summary.writer.record_writer import RecordWriter

from idgen.cli import main
from tests.workspace import Workspace

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full on this system")
def test_help_that_cannot_be_written() -> None:
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "idgen", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("idgen --help: error: cannot write")


class Output(io.StringIO):
    """Takes nothing, as a file on a full disk or a pipe that nobody reads."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, text: str) -> int:
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize(
    "options",
    [
        ["--version"],
        *([name, "--help"] for name in ("fit", "prepare", "sample", "benchmark", "init")),
    ],
)
def test_nothing_that_is_printed_is_lost_in_silence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", Output(errno.ENOSPC))
    assert main(options) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    monkeypatch.setattr(sys, "stdout", Output(errno.EPIPE))
    assert main(options) == 141
    assert capsys.readouterr().err == ""


def test_a_disk_that_fills_between_validations(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = RecordWriter.write

    def write(self: Any, data: bytes) -> None:
        if b"train/loss" in data:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written(self, data)

    # TensorBoard writes in a thread of its own.
    monkeypatch.setattr(RecordWriter, "write", write)
    options = ("--trainer.max_steps=300", "--trainer.val_check_interval=500")
    assert workspace.fit(*options, "--trainer.enable_model_summary=false") == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    (line,) = [line for line in said.splitlines() if "error" in line.lower()]
    assert f"cannot write {workspace.run}: there is no space left" in line
