"""`idgen prepare` on one folder of photos and on several."""

import shutil
from pathlib import Path

import pytest
import yaml

from idgen.cli import main
from tests.prepare.parts import save_photos
from tests.workspace import TinyModels, Workspace


def options(workspace: Workspace, output: Path) -> list[str]:
    """The workspace's models, with a segmenter that needs no masks."""
    settings = workspace.settings()
    settings["data"]["preparation"]["segmenter"] = {
        "class_path": "tests.prepare.parts.CentreSegmenter"
    }
    workspace.config.write_text(yaml.safe_dump(settings))
    return ["--config", str(workspace.config), "--output", str(output)]


def test_one_subject(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = save_photos(tmp_path / "dog")
    arguments = ["prepare", str(photos), *options(workspace, tmp_path / "out")]
    assert main(arguments) == 0
    assert "contact_sheet" in capsys.readouterr().out
    assert (tmp_path / "out" / "dog" / "index.json").is_file()
    assert main(arguments) == 0
    assert "is up to date: 3 photos" in capsys.readouterr().out


def test_several_subjects_and_a_bad_one(
    workspace: Workspace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tiny_models: TinyModels,
) -> None:
    photos = tmp_path / "all"
    for number, name in enumerate(("dog", "cat")):
        save_photos(photos / name, (2 * number, 2 * number + 1))
    save_photos(photos / "one", (8,))
    arguments = ["prepare", str(photos), *options(workspace, tmp_path / "out")]
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert "1 of 3 subjects failed" in printed.err
    assert "only one photo" in printed.out
    assert {path.parent.name for path in tmp_path.glob("out/*/index.json")} == {"dog", "cat"}
    shutil.rmtree(photos / "one")
    assert main(arguments) == 0
    assert capsys.readouterr().out.count("up to date") == 2


def test_a_mix_is_one_line(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_photos(tmp_path / "all")
    save_photos(tmp_path / "all" / "dog", (3, 4))
    arguments = ["prepare", str(tmp_path / "all"), *options(workspace, tmp_path / "out")]
    assert main(arguments) == 2
    assert "beside folders of photos" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
