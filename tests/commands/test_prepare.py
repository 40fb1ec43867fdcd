"""`idgen prepare` on one folder of photos and on several."""

import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

from idgen.cli import main
from idgen.data.subject import Subject
from idgen.errors import UserError
from idgen.models.encoders import ImageEncoder
from tests.prepare.parts import CentreSegmenter, save_photos
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


def test_a_linked_subject_has_one_name(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Alone, beside others, for its masks and in training."""
    photos = tmp_path / "all"
    save_photos(photos / "cup", (5, 6))
    (photos / "rex").symlink_to(save_photos(tmp_path / "IMG_2041", (0, 1)))
    output = tmp_path / "out"
    arguments = options(workspace, output)
    assert main(["prepare", str(photos / "rex"), *arguments]) == 0
    assert {path.name for path in output.iterdir()} == {"rex"}
    capsys.readouterr()
    assert main(["prepare", str(photos), *arguments]) == 0
    assert {path.name for path in output.iterdir()} == {"cup", "rex"}
    assert "rex" in capsys.readouterr().out
    assert Subject(str(photos / "rex"), "dog").prepared_folder.name == "rex"


def test_names_that_are_no_utf_8_are_printed(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = save_photos(tmp_path / os.fsdecode(b"h\xfcnd"))
    arguments = ["prepare", str(photos), *options(workspace, tmp_path / "out")]
    assert main(arguments) == 0
    assert main(arguments) == 0
    assert capsys.readouterr().out.count("h\ufffdnd") == 3


def test_options_may_come_before_the_folder(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A value is not taken for the folder, nor the folder for a value."""
    photos = save_photos(tmp_path / "3")
    arguments = [
        *("--preparation.views", "1", "--skip-bad"),
        *options(workspace, tmp_path / "out"),
        *("--preparation.flip", "false"),
    ]
    assert main(["prepare", *arguments, str(photos)]) == 0
    assert (tmp_path / "out" / "3" / "index.json").is_file()
    assert "plain" in (tmp_path / "out" / "3" / "index.json").read_text()
    capsys.readouterr()
    assert main(["prepare", str(photos), *arguments]) == 0
    assert "is up to date: 3 photos" in capsys.readouterr().out
    assert "unrecognized arguments: more" in refusal(capsys, str(photos), "more")


def test_a_saved_config_names_the_preparations_class(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, arguments = save_photos(tmp_path / "dog"), options(workspace, tmp_path / "out")
    assert main(["prepare", str(photos), *arguments]) == 0
    settings = yaml.safe_load(workspace.config.read_text())
    own = settings["data"]["preparation"]
    settings["data"]["preparation"] = {"class_path": "idgen.prepare.Preparation", "init_args": own}
    workspace.config.write_text(yaml.safe_dump(settings))
    capsys.readouterr()
    assert main(["prepare", str(photos), *arguments]) == 0
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
    save_photos(photos / "half", (8,))
    (photos / "half" / "09.png").write_bytes(b"half")
    arguments = ["prepare", str(photos), *options(workspace, tmp_path / "out")]
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert "1 of 3 subjects failed" in printed.err
    assert "09.png" in printed.out
    assert {path.parent.name for path in tmp_path.glob("out/*/index.json")} == {"dog", "cat"}
    shutil.rmtree(photos / "half")
    assert main(arguments) == 0
    assert capsys.readouterr().out.count("up to date") == 2


def test_masks_beside_the_subjects_are_none_of_them(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "all"
    shutil.copytree(workspace.photos, photos / "dog")
    shutil.copytree(workspace.folder / "masks", photos / "masks")
    folder = f"--preparation.segmenter.init_args.folder={photos / 'masks'}"
    config, output = f"--config={workspace.config}", f"--output={tmp_path / 'out'}"
    assert main(["prepare", str(photos), config, output, folder]) == 0
    assert "1 subject in " in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["dog"]


def test_a_mix_is_one_line(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_photos(tmp_path / "all")
    save_photos(tmp_path / "all" / "dog", (3, 4))
    arguments = ["prepare", str(tmp_path / "all"), *options(workspace, tmp_path / "out")]
    assert main(arguments) == 2
    assert "beside folders of photos" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Runs `idgen prepare`, which is to be refused, and returns its line."""
    assert main(["prepare", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("idgen prepare: error: ")
    return line


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--output"], "--output"),
        (["--config"], "--config"),
        (["--skip-bad=yes"], "--skip-bad"),
        (["--preparation.views", "-1"], "views"),
        (
            [
                "--preparation.inpainter=idgen.prepare.OpenCVInpainter",
                "--preparation.inpainter.init_args.dilation=-1",
            ],
            "dilation 0 or more",
        ),
        (
            [
                "--preparation.segmenter=idgen.prepare.SamSegmenter",
                "--preparation.segmenter.init_args.class_noun=dog",
            ],
            "belongs with",
        ),
        (["--preparation.segmenter=tests.commands.test_prepare.Refusing"], "not today"),
    ],
)
def test_bad_options_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], named: str
) -> None:
    photos = save_photos(tmp_path / "dog")
    assert named in refusal(capsys, str(photos), *options)


class Refusing(CentreSegmenter):
    """Fails with a bare error, as a library's part may."""

    def __init__(self) -> None:
        raise ValueError("not today,\nnot tomorrow")


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ([1, 2], "[1, 2]"),
        ({"model": "sd21"}, "model has to hold keys of its own, not 'sd21'"),
        ({"data": [3]}, "data has to hold"),
        ({"data": {"subject": "dog"}}, "data.subject has to hold"),
        ({"data": {"subject": {"photos": 7}}}, "data.subject.photos"),
        ({"data": {"subject": {"photos": "dog", "prepared": ["out"]}}}, "data.subject.prepared"),
    ],
)
def test_a_config_of_another_form_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], config: Any, named: str
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    line = refusal(capsys, "--config", str(path))
    assert str(path) in line
    assert named in line


@pytest.mark.parametrize("subject", ["all", "all/dog"])
def test_a_download_that_fails_shows_before_masks_are_made(
    workspace: Workspace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    subject: str,
) -> None:
    for number, name in enumerate(("dog", "cat")):
        save_photos(tmp_path / "all" / name, (2 * number, 2 * number + 1))
    arguments = ["prepare", str(tmp_path / subject), *options(workspace, tmp_path / "out")]

    def fetch(self: ImageEncoder) -> None:
        raise UserError("no network")

    with monkeypatch.context() as patch:
        patch.setattr(ImageEncoder, "fetch", fetch)
        assert main(arguments) == 2
        assert "no network" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
    assert main(arguments) == 0
    # Nothing is lacking: nothing is fetched.
    monkeypatch.setattr(ImageEncoder, "fetch", fetch)
    assert main(arguments) == 0


def test_bad_photos_are_left_out_and_each_named_once(workspace: Workspace, tmp_path: Path) -> None:
    photos = save_photos(tmp_path / "dog")
    (photos / "bad.jpg").write_bytes(b"")
    (photos / "text.jpg").write_text("no image")
    arguments = ["prepare", str(photos), *options(workspace, tmp_path / "out")]
    assert main(arguments) == 2
    with warnings.catch_warnings(record=True) as caught:
        assert main([*arguments, "--skip-bad"]) == 0
    said = [str(warning.message) for warning in caught if "left out" in str(warning.message)]
    assert sorted(line.split("'")[1] for line in said) == ["bad.jpg", "text.jpg"]
    assert all(str(photos) in line for line in said)
