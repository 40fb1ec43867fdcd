"""The comparison's page."""

import base64
import html
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from idgen.benchmark.comparison import compare
from idgen.benchmark.report import render_report
from idgen.benchmark.results import check_comparable, read_images
from idgen.benchmark.tables import PHOTOS
from idgen.errors import UserError
from tests.benchmark.made import PROMPTS, failed, make_result, make_subject, missing, results_of

METHODS = ("ours", "a <script>alert(1)</script>", "third")
SUBJECTS = ("dog6", "cat & mouse")
MADE_BY = {"command": "idgen benchmark --config 'a b.yaml' <x>", "idgen_version": "0"}
_VOID = {"meta", "img", "br", "line", "circle", "polyline"}


class Page(HTMLParser):
    """Text, sources and nesting of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.words = ""
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in _VOID:
            self.open.append(tag)
        self.sources += [value or "" for key, value in attrs if key in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += f"{data}\n"


@pytest.fixture
def page(tmp_path: Path) -> str:
    subjects = [make_subject(tmp_path, name) for name in (*SUBJECTS, "cup")]
    results = [
        *results_of(tmp_path, METHODS, SUBJECTS),
        failed(tmp_path, METHODS[0], "cup", "fit: <b>no</b> memory"),
        *results_of(tmp_path, METHODS[1:2], ("cup",)),
        missing(tmp_path, METHODS[2], "cup"),
    ]
    summary = compare(results, METHODS, "ours", check_comparable(results), 200)
    return render_report(summary, subjects, shown_prompts=3, made_by=MADE_BY).decode()


def test_it_holds_every_method_subject_prompt_and_the_command(page: str) -> None:
    words = Page(page).words
    for name in (*METHODS, *SUBJECTS, "cup", *PROMPTS, MADE_BY["command"]):
        assert name in words


def test_it_is_well_formed_and_nothing_comes_from_elsewhere(page: str) -> None:
    parsed = Page(page)
    assert parsed.open == []
    assert parsed.sources
    assert all(source.startswith("data:image/") for source in parsed.sources)
    assert "script" not in parsed.tags
    assert "link" not in parsed.tags
    assert not re.search(r"https?://|@import|url\((?!#)|href=.(?!#)", page)


def test_pictures_are_there_for_each_cell_and_photo(page: str) -> None:
    sources = Page(page).sources
    drawings, photos = (len(METHODS) * len(SUBJECTS) + 1) * len(PROMPTS), 2 * 3
    assert len(sources) == drawings + photos
    for source in sources:
        image = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))
        assert image.size in ((16, 16), (40, 40))


def test_deleted_drawings_are_left_out_and_damaged_ones_named(tmp_path: Path) -> None:
    results = results_of(tmp_path, ("ours",), ("dog",))
    summary = compare(results, ("ours",), "ours", {}, 100)
    subjects = [make_subject(tmp_path, "dog")]
    (results[0].folder / "images" / "0.png").unlink()
    page = Page(render_report(summary, subjects, 3, MADE_BY).decode())
    assert len(page.sources) == 2 + 2
    assert "no drawing" in page.words
    (results[0].folder / "images" / "1.png").write_bytes(b"half")
    with pytest.raises(UserError, match=r"1\.png .*delete it"):
        render_report(summary, subjects, 3, MADE_BY)


def test_a_damaged_list_of_drawings_is_named(tmp_path: Path) -> None:
    result = make_result(tmp_path, "ours", "dog", {"dino": 0.5})
    (result.folder / "images.csv").write_text("plain_prompt,file\na dog\n")
    with pytest.raises(UserError, match=r"cannot read .*images.csv .*delete .* to draw anew"):
        read_images(result.folder)


def test_it_says_what_the_scores_mean(page: str) -> None:
    words = Page(page).words
    for meaning in ("likeness to the photos, DINO cosine", "likeness to the photos' backgrounds"):
        assert meaning in words


def test_failed_and_missing_cells_are_said_with_their_reason(page: str) -> None:
    words = Page(page).words
    assert "1 cell failed" in words
    assert "ours / cup / seed 0: fit: <b>no</b> memory (exit code 2)" in words
    assert "1 cell still to be run" in words
    assert "not run yet" in words


def test_the_table_shows_means_and_intervals(page: str) -> None:
    words = Page(page).words
    # ours: DINO 0.50 and 0.53 on the two subjects.
    assert "0.515" in words
    assert "0.500–0.530" in words
    assert "pairing" in words


def test_the_photos_stand_below_the_methods_and_in_no_other_part(tmp_path: Path) -> None:
    results = results_of(tmp_path, METHODS, SUBJECTS)
    for result, dino in zip(results[:: len(METHODS)], (0.9, 0.7), strict=True):
        result.metrics["photos"] = {"dino": dino, "masked_dino": None}
    summary = compare(results, METHODS, "ours", {}, 200)
    subjects = [make_subject(tmp_path, name) for name in SUBJECTS]
    text = render_report(summary, subjects, 1, MADE_BY).decode()
    assert Page(text).open == []
    table = text[text.index("<h2>Scores</h2>") : text.index("<h2>Against ours</h2>")]
    methods, apart = table.split('<tbody class="apart">')
    assert all(f">{html.escape(method)}<" in methods for method in METHODS)
    assert PHOTOS not in methods
    assert "0.800<small>0.700–0.900</small>" in apart
    assert "2 subjects" in apart
    assert "strong" not in apart
    assert text.count(PHOTOS) == 1


def test_prompts_are_spread_over_the_suite_where_there_are_too_many(tmp_path: Path) -> None:
    results = results_of(tmp_path, ("ours",), ("dog",))
    summary = compare(results, ("ours",), "ours", {}, 100)
    text = render_report(summary, [make_subject(tmp_path, "dog")], 1, MADE_BY).decode()
    assert len(Page(text).sources) == 1 + 2


def test_a_comparison_of_which_nothing_is_finished_has_a_page(tmp_path: Path) -> None:
    results = [missing(tmp_path, "ours", "dog")]
    summary = compare(results, ("ours",), "ours", {}, 100)
    text = render_report(summary, [make_subject(tmp_path, "dog")], 3, MADE_BY).decode()
    assert "No cell is finished yet" in text
