"""The help of fit and its like is made once, and anew where it may have become another."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from idgen.cli import main
from idgen.commands import kept_help

Printed = Callable[[], str]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IDGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "90")
    return tmp_path / "cache"


@pytest.fixture
def printed(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Printed:
    """Prints the help; made ones say how many were made so far."""
    made: list[str] = []

    def make(command: str) -> str:
        made.append(command)
        return f"help {len(made)} of {command}\n"

    monkeypatch.setattr(kept_help, "_made", make)

    def ask() -> str:
        assert main(["fit", "--help"]) == 0
        return capsys.readouterr().out

    return ask


def test_a_kept_help_is_the_whole_one_and_imports_nothing_heavy(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "--help"]) == 0
    first = capsys.readouterr().out
    assert "--trainer.max_steps" in first
    assert "--data.subject.photos" in first
    heavy = ("torch", "lightning", "jsonargparse", "diffusers", "transformers", "torchmetrics")
    code = (
        "import sys; from idgen.cli import main; code = main(['fit', '-h']); "
        f"print(code, [name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    second = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ}
    )
    assert second.stderr == "0 []\n"
    assert second.stdout == first


def test_it_is_made_once(printed: Printed) -> None:
    assert printed() == "help 1 of fit\n"
    assert printed() == "help 1 of fit\n"


@pytest.mark.parametrize("variable", ["COLUMNS", "JSONARGPARSE_DEFAULT_ENV"])
def test_it_is_made_anew_in_another_environment(
    printed: Printed, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    printed()
    monkeypatch.setenv(variable, "77")
    assert printed() == "help 2 of fit\n"


def test_it_is_made_anew_for_another_version_of_a_library(
    printed: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed()
    monkeypatch.setattr("importlib.metadata.version", lambda name: "99.0")
    assert printed() == "help 2 of fit\n"


def test_it_is_made_anew_for_changed_sources(
    printed: Printed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = tmp_path / "package" / "__init__.py"
    source.parent.mkdir()
    source.write_text("")
    monkeypatch.setattr("idgen.__file__", str(source))
    assert printed() == "help 1 of fit\n"
    source.write_text("# longer")
    assert printed() == "help 2 of fit\n"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"made_from": "x", "text": "wrong"}', "\0"])
def test_a_damaged_file_is_made_anew(printed: Printed, cache: Path, content: str) -> None:
    printed()
    (cache / "help" / "fit.json").write_text(content)
    assert printed() == "help 2 of fit\n"


def test_a_cache_that_cannot_be_written_changes_nothing(
    printed: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDGEN_CACHE", "/proc/none")
    assert printed() == "help 1 of fit\n"
    assert printed() == "help 2 of fit\n"
