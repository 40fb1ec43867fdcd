"""Regimes side by side: never in one table, corrected together, shown together."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from idgen.benchmark.comparison import Comparison, compare
from idgen.benchmark.holm import holm
from idgen.benchmark.overview import overview_markdown, overview_picture
from idgen.benchmark.report import render_report
from idgen.benchmark.results import CellResult, check_comparable
from idgen.benchmark.summary import summarise
from idgen.benchmark.tables import HOLM, as_csv, as_json, as_markdown
from idgen.errors import UserError
from tests.benchmark.made import make_result, make_subject, results_of
from tests.benchmark.test_report import MADE_BY, Page

METHODS = ("ours", "plain LoRA", "another")
SUBJECTS = tuple(f"dog {number}" for number in range(8))
REGIMES = ("plain", "scenes=1&masks=wide")


def cells(folder: Path) -> list[CellResult]:
    found = []
    for regime in REGIMES:
        names = [f"{name} {regime}" for name in SUBJECTS]
        for result in results_of(folder, METHODS, names):
            # Of the third method nothing is sure: it is better on every other subject.
            number = names.index(result.subject)
            if result.method == "another":
                result.metrics["dino"] = 0.5 + 0.03 * number + 0.01 * (-1) ** number
            result.metrics["identity_accuracy"] = result.metrics["dino"]
            found.append(replace(result, regime=regime))
    return found


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    results = cells(tmp_path_factory.mktemp("cells"))
    return compare(results, METHODS, "ours", check_comparable(results), 1000)


def test_regimes_are_never_averaged(comparison: Comparison, tmp_path: Path) -> None:
    assert [summary.regime for summary in comparison.summaries] == list(REGIMES)
    for summary in comparison.summaries:
        assert {result.regime for result in summary.results} == {summary.regime}
        interval = summary.methods[0].scores["dino"]
        assert interval is not None
        assert interval.subjects == len(SUBJECTS)
    with pytest.raises(UserError, match="results of two regimes in one table: plain and scenes=1"):
        summarise(comparison.results, METHODS, "ours", {}, 100)


def test_a_score_is_corrected_over_methods_and_regimes(comparison: Comparison) -> None:
    found = [m.differences["dino"] for s in comparison.summaries for m in s.methods[1:]]
    raw = [d.p for d in found if d is not None and d.p is not None]
    assert len(raw) == 2 * len(REGIMES)
    assert [d.adjusted_p for d in found if d is not None] == pytest.approx(holm(raw))
    assert [d.holds for d in found if d is not None] == [True, False] * len(REGIMES)


def test_marks_say_what_holds(comparison: Comparison) -> None:
    table = as_markdown(comparison.summaries[0])
    rows = {line.split("|")[1].strip(): line for line in table.splitlines() if "|" in line}
    assert f"▲{HOLM}" in rows["plain LoRA"]
    assert HOLM not in rows["another"].split("|")[3]  # DINO, of which nothing is sure
    assert "Holm's correction over all methods and regimes" in table


def test_what_finds_masks_may_differ_from_regime_to_regime_alone(tmp_path: Path) -> None:
    first = make_result(tmp_path, "ours", "dog", {"dino": 0.5})
    second = make_result(tmp_path, "ours", "cat", {"dino": 0.5})
    second.metrics["protocol"] = {**first.metrics["protocol"], "photo_segmenter": "the truth"}
    check_comparable([first, replace(second, regime="scenes=1")])
    with pytest.raises(UserError, match=r"protocol\.photo_segmenter"):
        check_comparable([first, second])


def test_files_say_which_regime_a_cell_is_of(comparison: Comparison) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(comparison))))
    assert [row["regime"] for row in rows] == [
        regime for regime in REGIMES for _ in range(len(METHODS) * len(SUBJECTS))
    ]
    content = json.loads(as_json(comparison, {}))
    assert list(content["regimes"]) == list(REGIMES)
    assert {cell["regime"] for cell in content["cells"]} == set(REGIMES)
    assert content["regimes"]["plain"]["methods"][1]["differences"]["dino"]["adjusted_p"] <= 0.05


def test_the_overview_has_a_row_a_regime_and_a_column_a_method(comparison: Comparison) -> None:
    identity, *_ = overview_markdown(comparison).split("\n\n")
    head, _, *rows = identity.strip().splitlines()
    assert head == "| identity ↑ | ours | plain LoRA | another |"
    assert [row.split("|")[1].strip() for row in rows] == ["plain", "scenes=1&masks=wide"]
    picture = str(overview_picture(comparison))
    for word in (*METHODS, "plain", "scenes=1&amp;masks=wide", "leakage"):
        assert word in picture


def test_the_page_shows_regimes_apart(comparison: Comparison, tmp_path: Path) -> None:
    subjects = [make_subject(tmp_path, "cup")]
    page = Page(render_report(comparison, subjects, 1, MADE_BY).decode())
    assert page.open == []
    for heading in ("Regimes", *(f"Scores: {regime}" for regime in REGIMES)):
        assert heading in page.words
    alone = Comparison(comparison.summaries[:1])
    words = Page(render_report(alone, subjects, 1, MADE_BY).decode()).words
    assert "Regimes" not in words
    assert "Scores: " not in words
