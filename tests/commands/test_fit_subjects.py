"""`idgen fit` over a folder of subjects' folders, through the command line, with tiny models."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from idgen.cli import main
from idgen.locks import locked
from tests.workspace import Workspace

NAMES = ("10_sks cat", "noted", "rex")


def make_subjects(workspace: Workspace, *names: str) -> Path:
    """Copies the photos into a folder a subject, and names their parent in the config."""
    root = workspace.folder / "all"
    for name in names:
        shutil.copytree(workspace.photos, root / name)
    if "noted" in names:
        (root / "noted" / "class_noun.txt").write_text("dog on the beach\n")
    changed = workspace.settings()
    changed["data"]["subject"]["photos"] = str(root)
    changed["trainer"]["max_steps"] = 2
    changed["data"]["test_images"] = 1
    changed["data"]["test_prompts"] = ["a [V] {class_noun}"]
    workspace.write(changed)
    return root


def fit(workspace: Workspace, *options: str) -> int:
    return workspace.fit("--jobs=1", "--trainer.limit_val_batches=0", *options)


def rows(workspace: Workspace) -> list[dict[str, str]]:
    with (workspace.run / "subjects.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def made(workspace: Workspace) -> dict[str, int]:
    """When each run's files were written, which tells whether it was run again."""
    found = [*workspace.run.glob("*/checkpoints/last.ckpt"), *workspace.run.glob("*/test/*.json")]
    return {str(path): path.stat().st_mtime_ns for path in found}


def test_each_folder_is_trained_tested_and_never_twice(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_subjects(workspace, *NAMES)
    # Of one, all photos are no pictures: it fails, and the others go on.
    for photo in (root / "rex").iterdir():
        photo.write_bytes(b"damaged")
    (root / "empty").mkdir()
    with pytest.warns(UserWarning, match="empty holds no photos"):
        assert fit(workspace) == 1
    said = capsys.readouterr()
    assert "3/3 rex: failed: fit: " in said.err
    assert "1 of 3 subjects failed" in said.err
    found = {row["subject"]: row for row in rows(workspace)}
    assert tuple(found) == NAMES
    assert [row["status"] for row in found.values()] == ["done", "done", "failed"]
    assert [row["class_noun"] for row in found.values()] == ["cat", "dog on the beach", "dog"]
    assert "0.png" in found["rex"]["reason"]
    assert found["rex"]["dino"] == ""
    for name, folder in (("10_sks cat", "10_sks-cat"), ("noted", "noted")):
        run = workspace.run / folder
        metrics = json.loads((run / "test" / "metrics.json").read_text())
        assert float(found[name]["dino"]) == pytest.approx(metrics["dino"], abs=1e-6)
        assert f"{metrics['clip_t']:.3f}" in said.out
        assert metrics["class_noun"] == found[name]["class_noun"]
        stored = yaml.safe_load((run / "config.yaml").read_text())
        assert stored["data"]["subject"]["photos"] == str(root / name)
        assert Path(stored["data"]["subject"]["prepared"]).name == name
    before = made(workspace)
    assert len(before) == 4

    shutil.rmtree(root / "rex")
    shutil.copytree(workspace.photos, root / "rex")
    (root / "empty").rmdir()
    assert fit(workspace) == 0
    assert "2 are finished" in capsys.readouterr().err
    assert [row["status"] for row in rows(workspace)] == ["done"] * 3
    assert before.items() < made(workspace).items()

    # Other settings are other runs, and so are other photos.
    assert fit(workspace, "--data.batch_size=1") == 2
    assert "holds another run (config.data.batch_size is 2" in capsys.readouterr().err
    next((root / "rex").iterdir()).unlink()
    assert fit(workspace) == 2
    assert "holds another run (photos." in capsys.readouterr().err


def test_a_run_that_was_stopped_goes_on_where_it_was(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a fit that outlived the command, and was not noted as finished."""
    make_subjects(workspace, "rex")
    options = ("--test=false", "--trainer.limit_val_batches=1")
    assert fit(workspace, *options) == 0
    before = made(workspace)
    assert float(rows(workspace)[0]["clip_i"]) > 0
    assert rows(workspace)[0]["step"] == "2"
    own = workspace.run / ".cells" / "rex"
    for name in ("done.json", "fit.done"):
        (own / name).unlink()
    assert fit(workspace, *options) == 0
    assert "1/1 rex: done" in capsys.readouterr().err
    assert list(before) == list(made(workspace))
    assert "step 2" in (own / "fit.log").read_text()


def mixed(workspace: Workspace, root: Path) -> None:
    shutil.copy(next(workspace.photos.iterdir()), root / "stray.png")


def without_photos(workspace: Workspace, root: Path) -> None:
    for photo in root.glob("*/*.png"):
        photo.unlink()


def same_name(workspace: Workspace, root: Path) -> None:
    (root / "rex").rename(root / "my rex")
    shutil.copytree(root / "my rex", root / "my-rex")


def without_noun(workspace: Workspace, root: Path) -> None:
    config = yaml.safe_load(workspace.config.read_text())
    del config["data"]["subject"]["class_noun"]
    workspace.write(config)


def as_it_is(workspace: Workspace, root: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("change", "options", "told"),
    [
        (mixed, [], "'stray.png') beside folders of photos ('rex')"),
        (without_photos, [], "--data.subject.photos: there is no photo in "),
        (same_name, [], "would have one folder, "),
        (without_noun, [], "--data.subject.class_noun: say what the photos in "),
        (as_it_is, ["--ckpt_path={last}"], "--ckpt_path: "),
        (as_it_is, ["--checkpoint.dirpath=here"], "--checkpoint.dirpath: with several"),
        (as_it_is, ["--trainer.default_root_dir={trained}"], "holds one subject's run"),
        (as_it_is, ["--trainer.precision=nonsense"], "precision"),
        (as_it_is, ["--gpus_per_trial=1"], "add --engine ray"),
        (as_it_is, ["--data.subject.photos={photos}"], "--jobs: --data.subject.photos "),
    ],
)
def test_what_cannot_be_run_is_refused_before_work(
    workspace: Workspace,
    trained: Workspace,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Workspace, Path], None],
    options: list[str],
    told: str,
) -> None:
    change(workspace, make_subjects(workspace, "rex"))
    places = {"last": trained.last, "trained": trained.run, "photos": workspace.photos}
    assert fit(workspace, *(option.format(**places) for option in options)) == 2
    said = capsys.readouterr().err.strip()
    assert told in said.splitlines()[-1]
    assert not workspace.run.exists()


def test_two_at_a_time_in_one_folder_are_refused(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    make_subjects(workspace, "rex")
    cells = workspace.run / ".cells"
    cells.mkdir(parents=True)
    with locked(cells / "lock", wait=False):
        assert fit(workspace) == 2
    assert "another fit is at work" in capsys.readouterr().err


def test_a_kohya_root_of_several_is_as_good(workspace: Workspace) -> None:
    make_subjects(workspace, "10_sks dog", "5_zwx cat")
    command = ["fit", f"--config={workspace.config}", "--data.subject.class_noun=", "--engine=ray"]
    assert main([*command, "--trainer.limit_val_batches=0", "--test=false"]) == 0
    assert [row["class_noun"] for row in rows(workspace)] == ["dog", "cat"]
