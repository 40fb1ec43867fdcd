"""Every command of README.md and docs/ is run with tiny models, or parsed if it needs more."""

import argparse
import importlib
import io
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Never

import pytest
import yaml

from idgen.benchmark.config import BenchmarkConfig
from idgen.cli import main
from idgen.commands import benchmark, sweep
from idgen.runs.parser import OneLineParser
from idgen.sweep.config import SweepConfig
from tests.docs.blocks import PAGES, Block, Started, blocks, started
from tests.docs.tiny_run import changed

BASH = [block for block in blocks() if block.language == "bash"]
RUN_BY_PAGE = sorted({block.page for block in BASH if not block.needs})
ONLY_PARSED = [block for block in BASH if block.title.startswith("needs ")]
TOOLS = re.compile(r"python -m tools\.([\w.]+)([^`\n]*)")


class ReadError(Exception):
    """A benchmark's config and options were read, and its cells would be planned."""


class ParsedError(Exception):
    """A tool has taken its options."""


@pytest.fixture
def here(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path / "here")
    shutil.copytree(template.parent / "home", tmp_path / "home")
    return tmp_path / "here"


@pytest.mark.parametrize("page", RUN_BY_PAGE)
def test_the_commands_of_a_page_run(page: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(config: BenchmarkConfig | SweepConfig) -> Never:
        raise ReadError

    monkeypatch.setattr(benchmark, "make_plan", read)
    monkeypatch.setattr(sweep, "check_space", read)
    monkeypatch.syspath_prepend(str(here))
    _write_modules(page, here)
    folder = here
    for block in BASH:
        if block.page == page and not block.needs:
            commands, folder = started(block, folder, here)
            # Of a loop's commands, which differ in their numbers, the first is run.
            rounds = {re.sub(r"\d+", "0", str(one)): one for one in reversed(commands)}
            for number, command in enumerate(reversed(rounds.values()), start=block.line):
                _run(command, here, number, monkeypatch)


def _run(command: Started, here: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    program, words = command.words[0], command.words[1:]
    monkeypatch.chdir(command.folder)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(command.piped.encode())))
    if program == "python":
        assert words[0] == "-m"
        parse_tool(words[1].removeprefix("tools."), words[2:], monkeypatch)
    elif words[0] in ("benchmark", "sweep"):
        with pytest.raises(ReadError):
            main(words)
    else:
        assert program == "idgen"
        assert main(changed(words, here, number)) == 0, words


def _write_modules(page: str, here: Path) -> None:
    """Files that the page's own examples stand in."""
    for block in blocks():
        first = block.text.split("\n", 1)[0]
        if block.page == page and block.language == "python" and first.startswith("# "):
            (here / first.removeprefix("# ")).write_text(block.text)


@pytest.mark.parametrize("block", ONLY_PARSED, ids=str)
def test_commands_that_need_more_are_parsed(
    block: Block, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if block.title == "needs bitsandbytes":
        pytest.importorskip("bitsandbytes")

    def read(*_: Any) -> Never:
        raise ReadError

    commands, _ = started(block, here)
    assert commands
    for command in commands:
        program, words = command.words[0], command.words[1:]
        if words[0] == "prepare":
            with monkeypatch.context() as patch:
                patch.setattr(OneLineParser, "instantiate_classes", read)
                with pytest.raises(ReadError):
                    main(words)
        if program == "idgen" and words[0] in ("fit", "doctor", "benchmark", "sweep"):
            monkeypatch.chdir(command.folder)
            capsys.readouterr()
            parsed = words if words[0] != "doctor" else ["fit", *words[1:]]
            with pytest.raises(SystemExit) as ended:
                main([*parsed, "--print_config"])
            assert ended.value.code == 0, words
            assert yaml.safe_load(capsys.readouterr().out)


def _tools() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for name, options in TOOLS.findall(page.read_text(encoding="utf-8")):
            if not name.startswith("docs.") and "DIR" not in options:
                yield name, options


@pytest.mark.parametrize(("name", "options"), sorted(set(_tools())))
def test_the_options_of_tools_are_theirs(
    name: str, options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse_tool(name, options.replace('"', "'").split() if "'" not in options else [], monkeypatch)


def parse_tool(name: str, options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Has a tool parse its options, and stops it there."""
    parse = argparse.ArgumentParser.parse_args

    def stopped(self: argparse.ArgumentParser, *_: Any, **__: Any) -> Never:
        parse(self, options)
        raise ParsedError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stopped)
    with pytest.raises(ParsedError):
        importlib.import_module(f"tools.{name}").main()


def test_every_fence_of_a_shell_is_run_parsed_or_installs() -> None:
    assert len(BASH) > 20
    others = [block for block in BASH if block.needs and block not in ONLY_PARSED]
    for block in others:
        assert block.title in ("installs idgen", "builds the site"), block
        assert "pip install" in block.text
