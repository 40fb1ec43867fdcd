"""The blocks of README.md and docs/ that are no commands: Python, YAML, equations."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from idgen.callbacks.checkpoint import MONITORED
from idgen.cli import main
from idgen.shipped import shipped_configs
from tests.docs.blocks import PAGES, ROOT, Block, blocks
from tests.docs.tiny_run import tiny
from tests.workspace import TinyModels

ALL = blocks()
# Which tests run a page's Python: each block of it.
PYTHON = {
    "extending.md": ["tests/test_extending.py"],
    "python.md": ["tests/test_api.py", "tests/test_python.py"],
    "metrics.md": ["tests/docs/test_commands.py"],
    "sweeps.md": ["tests/docs/test_blocks.py"],
}
FIT_KEYS = {"model", "data", "trainer", "fidelity"}
OVERLAYS = [
    block
    for block in ALL
    if block.language == "yaml"
    and block.page != "extending.md"  # its test runs them
    and FIT_KEYS & set(yaml.safe_load(block.text))
]


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 900


def test_every_block_says_its_language() -> None:
    assert {block.language for block in ALL} == {"bash", "python", "yaml", "math"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_command_stands_outside_a_fence(page: Path) -> None:
    fenced = re.sub(r"^ *```.*?^ *```$", "", page.read_text("utf-8"), flags=re.M | re.S)
    assert re.findall(r"^ {4,}(?:idgen|python|pip) .*$", fenced, re.M) == []


@pytest.mark.parametrize("block", [b for b in ALL if b.language == "python"], ids=str)
def test_python_is_run_or_says_what_it_needs(block: Block) -> None:
    compile(block.text, str(block), "exec")
    if not block.needs:
        for test in PYTHON[block.page]:
            assert (ROOT / test).exists()


def test_the_sweep_from_python_runs(
    template: Path,
    tiny_models: TinyModels,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [block] = [b for b in ALL if b.page == "sweeps.md" and b.language == "python"]
    for name in ("photos", "prepared"):
        shutil.copytree(template / name, tmp_path / name)
    # A config of one's own wins over the one that ships under its name.
    settings = yaml.safe_load((shipped_configs() / "base.yaml").read_text("utf-8"))
    _merge(settings, tiny(tiny_models))
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "base.yaml").write_text(yaml.safe_dump(settings))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(block.text.replace("=200", "=2"), names)
    study = names["study"]
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE"]
    assert all(0 <= trial.value <= 1 for trial in study.trials)
    assert (tmp_path / "rank.db").exists()


def test_what_an_agent_of_weights_and_biases_starts_is_taken_by_fit(
    capsys: pytest.CaptureFixture[str],
) -> None:
    [text] = [b.text for b in ALL if b.page == "sweeps.md" and "Weights & Biases" in b.title]
    agent = yaml.safe_load(text)
    program, command, *words = agent["command"]
    assert (program, command, words.pop()) == ("idgen", "fit", "${args}")
    for key, given in agent["parameters"].items():
        for value in given.get("values", [given.get("min"), given.get("max")]):
            with pytest.raises(SystemExit) as ended:
                main(["fit", *words, f"--{key}={value}", "--print_config"])
            assert ended.value.code == 0
            capsys.readouterr()
    assert agent["metric"]["name"] in MONITORED


def _merge(under: dict[str, object], over: dict[str, object]) -> None:
    for key, value in over.items():
        below = under.get(key)
        if isinstance(below, dict) and isinstance(value, dict) and "class_path" not in value:
            _merge(below, value)
        else:
            under[key] = value


@pytest.mark.parametrize("block", [b for b in ALL if b.language == "yaml"], ids=str)
def test_yaml_is_read(block: Block) -> None:
    assert yaml.safe_load(block.text)


@pytest.mark.parametrize("block", OVERLAYS, ids=str)
def test_an_overlay_is_taken_by_fit(
    block: Block, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text(block.text)
    mine = ["--config", "configs/base.yaml", "--config", str(tmp_path / "mine.yaml")]
    with pytest.raises(SystemExit) as ended:
        main(["fit", *mine, "--print_config"])
    assert ended.value.code == 0
    assert yaml.safe_load(capsys.readouterr().out)
