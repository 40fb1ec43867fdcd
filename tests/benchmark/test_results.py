"""Which results may stand in one table, and the table's files."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from idgen.benchmark.bootstrap import bootstrap_interval
from idgen.benchmark.cell import difference
from idgen.benchmark.comparison import Comparison
from idgen.benchmark.results import CellResult, check_comparable
from idgen.benchmark.summary import Summary, summarise
from idgen.benchmark.tables import EMPTY, PHOTOS, as_csv, as_json, as_latex, as_markdown
from idgen.errors import UserError
from idgen.pages.scores import find_scores, score_name
from tests.benchmark.made import failed, make_result, missing, results_of

METHODS = ("ours", "lo_ra & co")
SUBJECTS = ("dog", "cat", "cup", "car", "boat", "fish")


def summary_of(folder: Path) -> Summary:
    results = [
        *results_of(folder, METHODS, SUBJECTS),
        failed(folder, "ours", "bad", "diverged"),
        missing(folder, METHODS[1], "bad"),
    ]
    return summarise(results, METHODS, "ours", check_comparable(results), resamples=500)


def test_scores_are_found_whatever_they_are_called() -> None:
    runs = [
        {"new_score": 0.1, "dino": 0.5, "images": 3, "checkpoint": None, "subject": "a"},
        {"new_score": None, "dino": 0.6, "images": 3, "checkpoint": "x", "masked_dino": None},
    ]
    assert find_scores(runs) == ["dino", "new_score"]
    assert find_scores([{"works": True, "note": "x", "nested": {"a": 1.0}}]) == []


def test_a_difference_names_the_field_and_both_values() -> None:
    first = {"protocol": {"images": 4, "sampler": {"steps": 20}}, "version": 1}
    assert difference(first, first) is None
    second = {"protocol": {"images": 4, "sampler": {"steps": 30}}, "version": 1}
    assert difference(first, second) == "protocol.sampler.steps is 20 there and 30 here"
    assert difference(first, {**first, "new": 1}) == "new is absent there and 1 here"


def test_scores_of_two_protocols_are_refused_by_field(tmp_path: Path) -> None:
    results = results_of(tmp_path, METHODS, ("dog",))
    other = make_result(tmp_path, "ours", "cat", {"dino": 0.5})
    other.metrics["protocol"] = {**other.metrics["protocol"], "pairing": "nearest photo"}
    with pytest.raises(UserError, match=r"protocol.pairing is 'every.*ours / cat / seed 0"):
        check_comparable([*results, other])


def test_the_seed_and_the_name_of_a_model_may_differ(tmp_path: Path) -> None:
    first = make_result(tmp_path, "ours", "dog", {"dino": 0.5})
    second = make_result(tmp_path, "ours", "dog", {"dino": 0.5}, seed=1)
    second.metrics["protocol"] = {**first.metrics["protocol"], "drawing_seed": 1, "dino": "moved"}
    assert check_comparable([first, second])["protocol"] == first.metrics["protocol"]


def test_other_versions_and_backbones_are_refused(tmp_path: Path) -> None:
    first = make_result(tmp_path, "ours", "dog", {"dino": 0.5})
    second = make_result(tmp_path, "ours", "cat", {"dino": 0.5})
    second.metrics["backbone_identity"] = "another"
    with pytest.raises(UserError, match="backbone_identity is 'abc' there and 'another' here"):
        check_comparable([first, second])
    second.metrics["backbone_identity"] = first.metrics["backbone_identity"]
    second.metrics["protocol"] = {**first.metrics["protocol"], "idgen_version": "1"}
    with pytest.raises(UserError, match=r"protocol.idgen_version is '0' there and '1' here"):
        check_comparable([first, second])


def test_a_part_of_a_setting_is_named(tmp_path: Path) -> None:
    first = make_result(tmp_path, "ours", "dog", {"dino": 0.5})
    second = make_result(tmp_path, "ours", "cat", {"dino": 0.5})
    sampler = {"name": "Sampler", "steps": 3}
    second.metrics["protocol"] = {**first.metrics["protocol"], "sampler": sampler}
    with pytest.raises(UserError, match=r"protocol.sampler.steps is 2 there and 3 here"):
        check_comparable([first, second])


def test_a_result_of_another_versions_protocol_is_refused_by_its_name(tmp_path: Path) -> None:
    first = make_result(tmp_path, "ours", "dog", {"dino": 0.5})
    del first.metrics["protocol"]["pairing"]
    with pytest.raises(UserError, match="ours / dog / seed 0: protocol: 'pairing' is missing"):
        check_comparable([first])


def test_a_score_that_does_not_exist_is_left_out_of_the_mean(tmp_path: Path) -> None:
    results = [
        make_result(tmp_path, "ours", "dog", {"dino": 0.4, "masked_dino": 0.8}),
        make_result(tmp_path, "ours", "cat", {"dino": 0.6, "masked_dino": None}),
    ]
    [method] = summarise(results, ["ours"], "ours", {}, 100).methods
    masked, dino = method.scores["masked_dino"], method.scores["dino"]
    assert masked is not None
    assert dino is not None
    assert (masked.mean, masked.subjects) == (0.8, 1)
    assert dino.mean == pytest.approx(0.5)
    assert dino.subjects == 2


def test_failed_and_missing_cells_count_nowhere_but_are_counted(tmp_path: Path) -> None:
    summary = summary_of(tmp_path)
    assert [(m.finished, m.planned) for m in summary.methods] == [(6, 7), (6, 7)]
    assert [r.subject for r in summary.failed] == ["bad"]
    assert [r.method for r in summary.missing] == [METHODS[1]]


def test_means_over_other_subjects_are_marked_and_never_the_best(tmp_path: Path) -> None:
    results = results_of(tmp_path, METHODS, SUBJECTS)
    # The other method leads in DINO; without the subject that is hardest for all it would the more.
    results = [r for r in results if (r.method, r.subject) != (METHODS[1], "dog")]
    results.append(failed(tmp_path, METHODS[1], "dog", "diverged"))
    summary = summarise(results, METHODS, "ours", check_comparable(results), resamples=100)
    ours, other = summary.methods
    assert (ours.partial, set(other.partial)) == ((), {"dino", "clip_t", "leakage"})
    assert summary.best(score_name("dino")) == []
    difference = other.differences["dino"]
    assert difference is not None
    assert difference.interval.mean == pytest.approx(0.1)
    row = next(line for line in as_markdown(summary).splitlines() if line.startswith("| lo"))
    assert row.count("†") == 3
    assert "† covers fewer subjects" in as_markdown(summary)
    assert as_latex(summary).count(r"$^\dagger$") == 3
    assert "†" not in as_markdown(summary_of(tmp_path / "whole"))


def test_a_score_that_one_cell_lacks_is_marked_though_all_cells_are_finished(
    tmp_path: Path,
) -> None:
    results = [
        make_result(tmp_path, "a", "dog", {"dino": 0.5, "masked_dino": 0.4}),
        make_result(tmp_path, "a", "cat", {"dino": 0.5, "masked_dino": 0.2}),
        make_result(tmp_path, "b", "dog", {"dino": 0.4, "masked_dino": 0.3}),
        make_result(tmp_path, "b", "cat", {"dino": 0.4, "masked_dino": None}),
    ]
    summary = summarise(results, ["a", "b"], "a", {}, 100)
    assert [method.partial for method in summary.methods] == [(), ("masked_dino",)]
    assert summary.best(score_name("masked_dino")) == []
    assert summary.best(score_name("dino")) == ["a"]


def test_names_do_not_break_tables(tmp_path: Path) -> None:
    name = "lo_ra\n| \\& *bold*"
    results = [make_result(tmp_path, method, "dog", {"dino": 0.5}) for method in ("a", "b")]
    results = [replace(r, method=name) if r.method == "b" else r for r in results]
    summary = summarise(results, ["a", name], name, {}, 100)
    markdown, latex = as_markdown(summary).splitlines(), as_latex(summary).splitlines()
    assert markdown[3].startswith(r"| lo\_ra \| \\& \*bold\* |")
    assert len(markdown) == 6
    assert latex[0].startswith("% ")
    assert latex[1].startswith(r"\begin{tabular}")
    assert sum(r"lo\_ra | \textbackslash{}\& *bold*" in line for line in latex) == 1


def test_differences_are_marked_by_which_way_is_better(tmp_path: Path) -> None:
    summary = summary_of(tmp_path)
    ours, other = summary.methods
    assert ours.differences["dino"] is None
    assert other.differences["dino"] is not None
    row = next(line for line in as_markdown(summary).splitlines() if line.startswith("| lo"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    head = as_markdown(summary).splitlines()[0]
    names = [cell.strip() for cell in head.strip("|").split("|")]
    shown = dict(zip(names, cells, strict=True))
    assert shown["DINO ↑"].endswith("▲")
    assert shown["CLIP-T ↑"].endswith("▼")
    assert shown["leakage ↓"].endswith("▲")  # less is better
    assert shown["DINO ↑"].startswith("**0.675")
    assert "masked DINO ↑" not in shown  # no cell has it


def test_csv_has_a_row_a_cell_and_nothing_where_there_is_no_score(tmp_path: Path) -> None:
    result = make_result(tmp_path, "ours", "dog", {"dino": 0.5, "masked_dino": None})
    other = make_result(tmp_path, "ours", "cat", {"dino": 0.0, "masked_dino": 0.7})
    results = [result, other, failed(tmp_path, "ours", "cup", 'said "no", twice')]
    summary = summarise(results, ["ours"], "ours", {}, 100)
    rows = list(csv.DictReader(io.StringIO(as_csv(Comparison((summary,))))))
    assert [row["status"] for row in rows] == ["done", "done", "failed"]
    assert [row["masked_dino"] for row in rows] == ["", "0.700000", ""]
    assert rows[1]["dino"] == "0.000000"
    assert rows[2]["reason"] == 'said "no", twice'


def test_json_holds_everything(tmp_path: Path) -> None:
    content = json.loads(
        as_json(Comparison((summary_of(tmp_path),)), {"command": "idgen benchmark"})
    )
    assert content["command"] == "idgen benchmark"
    assert len(content["cells"]) == 14
    assert [method["name"] for method in content["regimes"]["plain"]["methods"]] == list(METHODS)
    assert content["regimes"]["plain"]["methods"][0]["scores"]["dino"]["subjects"] == 6
    assert content["protocol"]["idgen_version"] == "0"


def test_latex_is_escaped(tmp_path: Path) -> None:
    table = as_latex(summary_of(tmp_path))
    assert r"lo\_ra \& co" in table
    rows = [line for line in table.splitlines() if line.endswith(r"\\")]
    assert {line.replace(r"\&", "").count("&") for line in rows} == {4}


def test_a_method_without_any_result_has_empty_cells(tmp_path: Path) -> None:
    results = [
        make_result(tmp_path, "ours", "dog", {"dino": 0.5}),
        failed(tmp_path, "b", "dog", ""),
    ]
    table = as_markdown(summarise(results, ["ours", "b"], "ours", {}, 100))
    row = next(line for line in table.splitlines() if line.startswith("| b "))
    assert EMPTY in row
    assert "0 of 1" in row
    assert "0.000" not in row


def test_equal_means_are_not_called_best(tmp_path: Path) -> None:
    results = [make_result(tmp_path, method, "dog", {"dino": 0.5}) for method in ("a", "b")]
    assert "**" not in as_markdown(summarise(results, ["a", "b"], "a", {}, 100))
    results[1] = replace(results[1], metrics={**results[1].metrics, "dino": 0.9})
    assert "**0.900**" in as_markdown(summarise(results, ["a", "b"], "a", {}, 100))


def with_photos(folder: Path) -> list[CellResult]:
    """Seven subjects: one has a single photo, one only cells of an earlier version, one none."""
    values = {"dog": 0.9, "cat": 0.8, "cup": 0.7, "car": None, "boat": 0.6}
    results = results_of(folder, METHODS, SUBJECTS)
    for result in results:
        if result.subject in values and result.method == METHODS[1]:
            dino = values[result.subject]
            result.metrics["photos"] = {"dino": dino, "clip_i": dino, "masked_dino": None}
    return [*results, missing(folder, "ours", "bad"), missing(folder, METHODS[1], "bad")]


def test_the_photos_row_is_over_the_subjects_that_have_it(tmp_path: Path) -> None:
    summary = summarise(with_photos(tmp_path), METHODS, "ours", {}, 500)
    photos = summary.photos
    assert photos is not None
    assert (photos.scored, photos.planned, photos.partial) == (4, 7, ("dino",))
    interval = photos.scores["dino"]
    assert interval is not None
    assert interval.mean == pytest.approx((0.9 + 0.8 + 0.7 + 0.6) / 4)
    # By the names' order, as the bootstrap draws them.
    own = {("boat", 7): 0.6, ("cat", 7): 0.8, ("cup", 7): 0.7, ("dog", 7): 0.9}
    assert interval == bootstrap_interval(own, 500)
    assert photos.scores["clip_t"] is None
    assert photos.subjects["car"]["dino"] is None


def test_the_photos_are_no_method(tmp_path: Path) -> None:
    results = with_photos(tmp_path)
    summary = summarise(results, METHODS, "ours", {}, 500)
    plain = summarise(results_of(tmp_path / "plain", METHODS, SUBJECTS), METHODS, "ours", {}, 500)
    assert [method.name for method in summary.methods] == list(METHODS)
    assert [m.scores for m in summary.methods] == [m.scores for m in plain.methods]
    assert [m.differences for m in summary.methods] == [m.differences for m in plain.methods]
    assert summary.best(score_name("dino")) == [METHODS[1]]
    *_, row = (line for line in as_markdown(summary).splitlines() if line.startswith("|"))
    assert row.startswith(f"| *{PHOTOS}* | 4 of 7 subjects | 0.750 ± ")
    assert "**" not in row
    assert row.count("†") == 1
    assert row.count(EMPTY) == 2
    assert "It covers 4 of 7 subjects: the others have a single photo" in as_markdown(summary)
    latex = as_latex(summary).splitlines()
    last = next(line for line in latex if PHOTOS in line and not line.startswith("%"))
    assert latex[latex.index(last) - 1] == r"\midrule"
    assert r"0.750 $\pm$" in last
    assert r"textbf" not in last
    assert last.count("&") == latex[latex.index(r"\toprule") + 1].count("&")


def test_the_files_for_programs_hold_the_photos_apart_from_cells(tmp_path: Path) -> None:
    summary = summarise(with_photos(tmp_path), METHODS, "ours", {}, 100)
    content = json.loads(as_json(Comparison((summary,)), {}))
    assert content["regimes"]["plain"]["photos"]["subjects"]["cat"]["dino"] == 0.8
    assert content["regimes"]["plain"]["photos"]["scores"]["dino"]["subjects"] == 4
    rows = list(csv.DictReader(io.StringIO(as_csv(Comparison((summary,))))))
    assert len(rows) == len(summary.results)
    by_cell = {(row["method"], row["subject"]): row["photos_dino"] for row in rows}
    assert by_cell[METHODS[1], "dog"] == "0.900000"
    assert by_cell["ours", "dog"] == by_cell[METHODS[1], "car"] == by_cell["ours", "bad"] == ""


def test_cells_of_a_version_without_photo_scores_have_no_photos_row(tmp_path: Path) -> None:
    summary = summary_of(tmp_path)
    assert summary.photos is None
    assert json.loads(as_json(Comparison((summary,)), {}))["regimes"]["plain"]["photos"] is None
    assert PHOTOS not in as_markdown(summary) + as_latex(summary)
    assert "photos" not in as_csv(Comparison((summary,))).splitlines()[0]


def test_subjects_with_one_photo_leave_the_row_empty(tmp_path: Path) -> None:
    result = make_result(tmp_path, "ours", "dog", {"dino": 0.5})
    result.metrics["photos"] = {"dino": None, "clip_i": None}
    *_, row = (
        line
        for line in as_markdown(summarise([result], ["ours"], "ours", {}, 100)).splitlines()
        if line.startswith("|")
    )
    assert row == f"| *{PHOTOS}* | 0 of 1 subject | {EMPTY} |"
