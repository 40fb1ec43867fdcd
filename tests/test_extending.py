"""The examples of docs/extending.md, run through the real command line as they stand there."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from idgen.cli import main
from tests.tiny_pixart import save_pixart
from tests.workspace import TinyModels, Workspace, make_workspace

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
SECTION = re.compile(
    r"^## (?P<title>[^\n]+)\n.*?^```python\n# (?P<file>\w+\.py)\n(?P<code>.*?)^```\n\n"
    r"```yaml\n(?P<config>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
EXAMPLES = {match["file"]: match for match in SECTION.finditer(PAGE.read_text())}
LINES = 30


def test_every_kind_of_part_has_an_example() -> None:
    titles = " ".join(match["title"] for match in EXAMPLES.values())
    parts = ("segmenter", "inpainter", "captioner")
    for kind in ("term", "tuning", "conditioning", "backbone", *parts, "score"):
        assert kind in titles


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_short(name: str) -> None:
    lines = [line for line in EXAMPLES[name]["code"].splitlines() if line.strip()]
    assert len(lines) < LINES


@pytest.fixture
def workspace(tmp_path: Path, tiny_models: TinyModels) -> Workspace:
    return make_workspace(tmp_path, tiny_models)


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that Python imports from, whose modules are forgotten afterwards."""
    folder = tmp_path / "mine"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.chdir(folder)
    yield folder
    for name in EXAMPLES:
        sys.modules.pop(name.removesuffix(".py"), None)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_trains_and_draws(name: str, importable: Path, workspace: Workspace) -> None:
    example = EXAMPLES[name]
    (importable / name).write_text(example["code"])
    (importable / "mine.yaml").write_text(example["config"])
    if name == "pixart.py":
        save_pixart(importable / "models" / "pixart")
    workspace.write(_trimmed(workspace.settings(), yaml.safe_load(example["config"])))
    assert workspace.fit("--config", "mine.yaml", "--trainer.max_steps", "2") == 0
    weights = torch.load(workspace.last, weights_only=True)["state_dict"]
    assert weights
    assert all(weight.isfinite().all() for weight in weights.values())
    out = workspace.folder / "test"
    assert main(["test", f"--ckpt_path={workspace.last}", f"--drawings.output={out}"]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["images"] == 6
    if name == "photo_token.py":
        kept = workspace.folder / "kept"
        keep = (f"--data.reference={workspace.photos / '0.png'}", f"--drawings.output={kept}")
        assert main(["predict", f"--ckpt_path={workspace.last}", *keep]) == 0
        assert list((kept / "images").glob("*.png"))
    if name == "daylight.py":
        phrases = [json.loads(path.read_text())["caption"] for path in captions(workspace)]
        assert phrases == ["in the dark"] * 3
    if name == "brightness.py":
        assert 0 <= metrics["brightness_distance"] <= 1


def captions(workspace: Workspace) -> list[Path]:
    return sorted((workspace.folder / "prepared" / "captions").iterdir())


def _trimmed(settings: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    """The small run's settings without those of a part that the example replaces."""
    for part in ("tuning", "conditioning", "backbone"):
        if part in overlay.get("model", {}):
            del settings["model"][part]
    if "terms" not in overlay.get("model", {}):
        del settings["model"]["terms"]
    return settings
