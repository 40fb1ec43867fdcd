"""What docs/metrics.md says of metrics.json and scores.csv is what a run writes."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from idgen.cli import main
from tests.docs.blocks import ROOT
from tests.workspace import Workspace

NUMBERS = re.compile(r"(about )?(?P<low>-?\d)( to (?P<high>\d)| or more)")
KINDS: dict[str, type] = {"text": str, "object": dict}


def tables() -> list[dict[str, tuple[str, str]]]:
    """Of each table in the section: range and when it is missing, by name."""
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    section = page.split("\n## What is written\n")[1].split("\n## ")[0]
    found: list[dict[str, tuple[str, str]]] = []
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and cells[0] in ("key", "column"):
            found.append({})
        elif line.startswith("| "):
            name = cells[0].strip("`")
            assert name not in found[-1]
            found[-1][name] = (cells[2], cells[3])
    return found


def check(name: str, value: Any, within: str, missing: str) -> None:
    if value is None:
        assert missing != "never", name
    elif (match := NUMBERS.fullmatch(within)) is None:
        assert isinstance(value, KINDS[within]), name
    else:
        assert isinstance(value, int | float), name
        # Rounding aside; what is only about is not held to it.
        assert match[1] or value >= int(match["low"]) - 1e-6, name
        assert match[1] or match["high"] is None or value <= int(match["high"]) + 1e-6, name


@pytest.mark.parametrize(
    "options", [(), ("--fidelity.segmenter=tests.prepare.parts.CentreSegmenter",)]
)
def test_metrics_json(trained: Workspace, tmp_path: Path, options: tuple[str, ...]) -> None:
    out = tmp_path / "test"
    command = ["test", f"--ckpt_path={trained.last}", f"--drawings.output={out}", *options]
    assert main(command) == 0
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    photos = {f"photos.{name}": value for name, value in metrics.pop("photos").items()}
    documented = tables()[0]
    assert documented.keys() == {*metrics, *photos}
    for name, value in {**metrics, **photos}.items():
        check(name, value, *documented[name])
    # With a segmenter for drawings, all that needs no truth is there.
    there = {name for name, value in metrics.items() if value is not None}
    wanted = {name for name, (_, missing) in documented.items() if "mini world" not in missing}
    wanted = {name for name in wanted if not name.startswith("photos.")}
    assert there == wanted if options else there < wanted


def test_scores_csv(trained: Workspace) -> None:
    with (trained.run / "validation" / "scores.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    documented = tables()[1]
    assert [row["step"] for row in rows] == ["2", "4"]
    for row in rows:
        assert list(row) == list(documented)
        for name, value in row.items():
            check(name, float(value) if value else None, *documented[name])
