"""A cell on a machine that has nothing of it but what is carried there."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from idgen.benchmark.carrying import packed, read_by, unpacked
from idgen.benchmark.cell import Cell, Outcome
from idgen.benchmark.ray_executor import _run_remote
from idgen.errors import UserError
from tests.benchmark.test_executor import calls, make_cell

UNSEEN = ("/nowhere/token", "mark")


def with_photos(folder: Path) -> tuple[Cell, Path]:
    """A cell whose config names a folder of photos, a model by a scheme, and what is not there."""
    photos, model = folder / "photos", folder / "model"
    for made in (photos, model):
        made.mkdir(parents=True)
        (made / "file").write_text(made.name)
    cell = make_cell(folder)
    named = {
        "photos": str(photos),
        "encoders": [f"local-dir:{model}"],
        "hub": "owner/name",
        "gone": str(folder / "gone"),
        "relative": "photos",
        "inside": str(photos / "file"),
    }
    return replace(cell, files={cell.folder / "config.yaml": yaml.safe_dump(named)}), photos


def test_it_reads_what_its_config_names_and_goes_on_from(tmp_path: Path) -> None:
    cell, photos = with_photos(tmp_path / "there")
    assert read_by(cell) == [tmp_path / "there" / "model", photos]
    cell.folder.mkdir()
    assert read_by(cell) == [cell.folder, tmp_path / "there" / "model", photos]


def test_it_runs_where_nothing_of_it_was_and_its_results_come_home(tmp_path: Path) -> None:
    there, home = tmp_path / "there", tmp_path / "home"
    cell, photos = with_photos(there)
    needed = packed(read_by(cell))
    there.rename(home)  # from here on this is another machine
    ended = _run_remote(cell, UNSEEN, "1", needed)
    assert ended.outcome is not None
    assert ended.outcome.reason == ""
    assert ended.left is not None
    assert len(calls(there)) == 2
    assert (photos / "file").read_text() == "photos"
    assert not cell.folder.exists(), "what was carried home does not fill another's disk"
    shutil.rmtree(there)
    home.rename(there)  # and this is the first again
    assert not cell.is_done()
    unpacked(ended.left, over=True)
    assert cell.is_done()
    assert (cell.folder / "fit.log").exists()


def test_what_is_there_is_not_written_over_and_not_taken_for_the_same(tmp_path: Path) -> None:
    cell, photos = with_photos(tmp_path / "there")
    needed = packed(read_by(cell))
    assert not (_run_remote(cell, UNSEEN, "1", needed).outcome or Outcome(cell, "x")).reason
    (photos / "file").write_text("another's")
    ended = _run_remote(cell, UNSEEN, "1", needed)
    assert ended.outcome is not None
    assert "photos/file here is another file than where it was planned" in ended.outcome.reason
    assert (photos / "file").read_text() == "another's"


def test_a_token_of_another_driver_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    cell, _ = with_photos(tmp_path / "there")
    token = tmp_path / "token"
    token.write_text("another's")
    assert _run_remote(cell, (str(token), "mark"), "1") == (None, None)
    token.write_text("mark")
    assert _run_remote(cell, (str(token), "mark"), "1").outcome is not None


def test_a_place_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    cell, _ = with_photos(tmp_path / "there")
    needed = packed(read_by(cell))
    shutil.rmtree(tmp_path / "there")
    (tmp_path / "there").write_text("a file is in the way")
    ended = _run_remote(cell, UNSEEN, "1", needed)
    assert ended.outcome is not None
    assert "cannot make" in ended.outcome.reason
    with pytest.raises(UserError, match="cannot make"):
        unpacked(needed, over=False)


def test_a_run_beside_the_cell_comes_home_and_links_are_followed(tmp_path: Path) -> None:
    """As of a rung of a sweep, whose run lies in the whole cell's folder."""
    there, home = tmp_path / "there", tmp_path / "home"
    cell, photos = with_photos(there)
    (there / "linked").symlink_to(photos)
    (photos / "lock").mkdir()
    (photos / "lock" / "0.png").write_text("a photo")
    config = {"photos": str(there / "linked")}
    (cell.folder / "run").mkdir(parents=True)
    (cell.folder / "run" / "last.ckpt").write_text("of the rung before")
    rung = replace(
        cell,
        folder=cell.folder / "rungs" / "1",
        beside=(cell.folder / "run",),
        steps=cell.steps[:1],
        files={cell.folder / "config.yaml": yaml.safe_dump(config)},
    )
    needed = packed(read_by(rung))
    there.rename(home)
    ended = _run_remote(rung, UNSEEN, "1", needed)
    assert ended.outcome is not None
    assert ended.outcome.reason == ""
    assert ended.left is not None
    assert (there / "linked" / "lock" / "0.png").read_text() == "a photo"
    assert "last.ckpt" in calls(there)[0], "it went on from the rung before"
    assert not (cell.folder / "run").exists()
    shutil.rmtree(there)
    unpacked(ended.left, over=True)
    assert (cell.folder / "run" / "fitted").exists()
    assert rung.is_done()
