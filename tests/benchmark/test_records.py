"""Finished cells as small files, read by a run on another machine."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from idgen.benchmark.cell import Cell, Step, write_json
from idgen.benchmark.records import Records
from idgen.errors import UserError
from tests.benchmark.made import metrics


def make_cell(folder: Path, steps: int = 200) -> Cell:
    own = folder / "cells" / "ours" / "dog-3-masks-wide" / "seed-0"
    record = {
        "idgen_version": "0",
        "prompts": [f"a [V] dog number {number}" for number in range(25)],
        "protocol": {"sampler": {"steps": 20}},
        "config": {"trainer": {"max_steps": steps}, "model": {"tuning": {"rank": 8}}},
    }
    test = Step("test", ("python",), own / "test" / "metrics.json")
    return Cell("ours / dog 3 masks=wide / seed 0", own, record, (test,), {})


def finished(cell: Cell) -> Cell:
    result = cell.steps[-1].result
    result.parent.mkdir(parents=True)
    write_json(result, {**metrics(dino=0.5), "checkpoint": str(cell.folder / "last.ckpt")})
    return cell


@pytest.fixture
def records(tmp_path: Path) -> Records:
    kept = Records(tmp_path / "records")
    kept.keep(finished(make_cell(tmp_path / "here")))
    return kept


def test_another_machine_reads_the_scores(records: Records, tmp_path: Path) -> None:
    elsewhere = make_cell(tmp_path / "elsewhere")
    found = records.metrics(elsewhere)
    assert found is not None
    assert found["dino"] == 0.5
    assert found["protocol"] == metrics()["protocol"]
    assert records.path(elsewhere) == records.folder / "ours" / "dog-3-masks-wide" / "seed-0.json"


def test_a_record_is_small_and_names_no_place(records: Records, tmp_path: Path) -> None:
    [path] = records.folder.rglob("*.json")
    assert path.stat().st_size < 8000
    assert str(tmp_path) not in path.read_text()


def test_without_a_file_nothing_is_known(records: Records, tmp_path: Path) -> None:
    cell = make_cell(tmp_path / "elsewhere")
    other = replace(cell, folder=cell.folder.with_name("seed-1"))
    assert records.metrics(other) is None


def test_a_result_of_other_settings_is_refused_by_field(records: Records, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config.trainer.max_steps is 200 there and 300 here"):
        records.metrics(make_cell(tmp_path / "elsewhere", steps=300))
    cell = make_cell(tmp_path / "elsewhere")
    newer = replace(cell, record={**cell.record, "idgen_version": "1"})
    with pytest.raises(UserError, match="idgen_version is '0' there and '1' here"):
        records.metrics(newer)
    others = replace(cell, record={**cell.record, "prompts": ["a [V] dog"]})
    with pytest.raises(UserError, match="prompts is"):
        records.metrics(others)


@pytest.mark.parametrize("content", ["{}", "[]", "{", json.dumps({"key": "x", "metrics": 3})])
def test_a_damaged_record_is_named(content: str, records: Records, tmp_path: Path) -> None:
    cell = make_cell(tmp_path / "elsewhere")
    records.path(cell).write_text(content)
    with pytest.raises(UserError, match=r"seed-0\.json"):
        records.metrics(cell)


def test_a_record_that_is_there_is_not_written_again(records: Records, tmp_path: Path) -> None:
    [path] = records.folder.rglob("*.json")
    before = path.stat().st_mtime_ns
    records.keep(make_cell(tmp_path / "here"))
    assert path.stat().st_mtime_ns == before
