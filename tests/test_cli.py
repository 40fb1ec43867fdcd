import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from idgen.cli import COMMANDS, _as_utf8, main
from tests.workspace import Workspace, run_idgen


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    for command, line in COMMANDS.items():
        assert command in printed
        assert line in printed


def test_help_and_init_import_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; from idgen.cli import main; main(['--help']); main(['init', '.']); "
        "print('torch' in sys.modules)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert printed.stdout.strip().endswith("False")
    assert (tmp_path / "configs" / "base.yaml").is_file()


def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fti"]) == 2
    assert "did you mean 'fit'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "rank"),
    [
        *(("LOCAL_RANK", rank) for rank in ("abc", "", "-1")),
        ("NODE_RANK", "a"),
        ("MASTER_PORT", "a"),
    ],
)
def test_a_rank_that_is_no_number_is_refused_before_imports(
    name: str, rank: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, rank)
    assert main(["fit", "--config", "configs/base.yaml"]) == 2
    assert f"{name}={rank} in the environment is no number" in capsys.readouterr().err


def test_module_runs_as_a_command() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "idgen", "--version"], capture_output=True, text=True, check=True
    )
    assert printed.stdout.startswith("idgen ")


def test_a_full_disk_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(command: str, options: list[str]) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "run/validation/scores.csv")

    monkeypatch.setattr("idgen.cli._run", run)
    assert main(["fit"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "run/validation/scores.csv: there is no space left" in line


def test_a_machine_whose_encoding_lacks_letters(trained: Workspace, tmp_path: Path) -> None:
    """File names, arguments and progress bars, where Python takes ASCII for all three."""
    ascii_alone = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    prompt = "a [V] dog, größer, 犬"
    command = ("sample", str(trained.last), prompt, "--out", str(tmp_path / "out"), "-n", "1")
    ended = run_idgen(*command, "--steps", "1", **ascii_alone)
    assert ended.returncode == 0, ended.stderr
    (image,) = (tmp_path / "out" / "images").iterdir()
    assert image.name.isascii()


@pytest.mark.parametrize("text", ["a [V] dog", "größer, 犬", "\u20ac"])
def test_an_argument_is_utf8_whatever_the_machine_takes_it_for(text: str) -> None:
    """Python stands in a lone surrogate for each byte that is no letter to it."""
    taken = text.encode().decode("ascii", errors="surrogateescape")
    assert _as_utf8(taken) == _as_utf8(text) == text
