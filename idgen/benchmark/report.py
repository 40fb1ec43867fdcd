"""The comparison's page: table, scatter, drawings of every method beside the photos."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from idgen.benchmark.bootstrap import Interval
from idgen.benchmark.photos_row import PhotosRow
from idgen.benchmark.results import CellResult, DrawnImage, read_images
from idgen.benchmark.subjects import BenchmarkSubject
from idgen.benchmark.summary import MethodSummary, Summary
from idgen.benchmark.tables import (
    PARTIAL,
    PHOTOS,
    counted,
    counted_subjects,
    marks,
    partial_mark,
    photos_note,
    significance,
)
from idgen.errors import UserError
from idgen.report.drawing_table import DrawingRow, drawing_table, photo_strip, subject_details
from idgen.report.elements import Markup, table, text
from idgen.report.page import (
    Section,
    command_block,
    definitions,
    flattened_protocol,
    render_page,
)
from idgen.report.scatter import ScatterPoint, draw_scatter
from idgen.report.scores import ScoreName, score_name

_ACROSS, _UP = "clip_t", "dino"
_EMPTY = "–"


def render_report(
    summary: Summary,
    subjects: Sequence[BenchmarkSubject],
    shown_prompts: int,
    made_by: Mapping[str, Any],
) -> bytes:
    """Writes the page.

    Args:
        summary: The numbers.
        subjects: The subjects, in order.
        shown_prompts: Prompts of each subject that are shown.
        made_by: `command` and `idgen_version`.

    Returns:
        The page, UTF-8, pictures and all.

    Raises:
        UserError: If drawings or photos cannot be read.
    """
    seeds = len({result.seed for result in summary.results})
    finished = sum(result.status == "done" for result in summary.results)
    lead = (
        f"{_count(len(summary.methods), 'method')}, {_count(len(subjects), 'subject')}, "
        f"{_count(seeds, 'seed')}: {finished} of {len(summary.results)} cells are finished. "
        f"The reference is {summary.reference}."
    )
    facts = {"idgen": str(made_by["idgen_version"]), **flattened_protocol(summary.protocol)}
    sections = [
        Section("", _unfinished(summary)),
        Section("Scores", _table(summary)),
        Section(f"Against {summary.reference}", _differences(summary)),
        Section("DINO against CLIP-T", _scatter(summary)),
        Section("Drawings", _drawings(summary, subjects, shown_prompts)),
        Section("Subject by subject", _by_subject(summary, subjects)),
        Section("Protocol", definitions(facts)),
        Section("Command", command_block(str(made_by["command"]))),
    ]
    return render_page("Comparison of methods", lead, [s for s in sections if s.body])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _unfinished(summary: Summary) -> str:
    body = ""
    if summary.failed:
        lines = "".join(
            f"<li>{text(r.name)}: {text(r.reason)} (exit code {r.exit_code})</li>\n"
            for r in summary.failed
        )
        body += (
            f'<div class="alarm"><strong>{_count(len(summary.failed), "cell")} failed</strong>, '
            f"left out of all means.<ul>{lines}</ul></div>\n"
        )
    if summary.missing:
        body += (
            f'<div class="alarm">{_count(len(summary.missing), "cell")} still to be run: '
            f"{text('; '.join(r.name for r in summary.missing))}</div>\n"
        )
    return body


def _heading(name: ScoreName) -> Markup:
    arrow = f"&nbsp;{name.arrow}" if name.arrow else ""
    return Markup(f'<span title="{text(name.meaning)}">{text(name.label)}{arrow}</span>')


def _table(summary: Summary) -> str:
    names = [score_name(score) for score in summary.scores]
    if not names:
        return "<p>No cell is finished yet.</p>\n"
    rows: list[list[str | Markup]] = [
        [method.name, counted(method), *(_entry(summary, method, name) for name in names)]
        for method in summary.methods
    ]
    photos = [] if summary.photos is None else [_photos(summary.photos, names)]
    apart = "" if summary.photos is None else f" {photos_note(summary.photos)}"
    note = (
        '<p class="note">Means over subjects, below them the 95 % bootstrap interval; the best '
        f"in bold. {text(marks(summary) + apart)}</p>\n"
    )
    legend = definitions({name.label: name.meaning for name in names if name.meaning})
    return table(["method", "cells", *map(_heading, names)], rows, "scores", photos) + note + legend


def _photos(photos: PhotosRow, names: Sequence[ScoreName]) -> list[str | Markup]:
    """The row of the photos among themselves, which is no method's."""
    row: list[str | Markup] = [PHOTOS, counted_subjects(photos)]
    for name in names:
        interval = photos.scores[name.key]
        mark = PARTIAL if name.key in photos.partial else ""
        mean = _EMPTY if interval is None else f"{interval.mean:.3f}{mark}{_ends(interval)}"
        row.append(Markup(mean))
    return row


def _entry(summary: Summary, method: MethodSummary, name: ScoreName) -> Markup:
    interval = method.scores[name.key]
    if interval is None:
        return Markup(_EMPTY)
    mean = f"{interval.mean:.3f}{partial_mark(method, name.key)}"
    if method.name in summary.best(name):
        mean = f"<strong>{mean}</strong>"
    mean += _mark(significance(method.differences[name.key], name.better))
    return Markup(mean + _ends(interval))


def _ends(interval: Interval) -> str:
    """The interval below its mean; nothing where there is none."""
    if interval.low is None or interval.high is None:
        return ""
    return f"<small>{interval.low:.3f}–{interval.high:.3f}</small>"


def _mark(direction: int) -> str:
    kind, sign, said = {
        1: ("better", "▲", "better than the reference"),
        -1: ("worse", "▼", "worse than the reference"),
    }.get(direction, ("", "", ""))
    return f' <span class="{kind}" title="{said}">{sign}</span>' if sign else ""


def _differences(summary: Summary) -> str:
    """Each method minus the reference; nothing where there is only one method."""
    others = [method for method in summary.methods if method.name != summary.reference]
    names = [score_name(score) for score in summary.scores]
    if not others or not names:
        return ""
    rows: list[list[str | Markup]] = [
        [method.name, *(_change(method, name) for name in names)] for method in others
    ]
    note = (
        f'<p class="note">The method minus {text(summary.reference)}, paired over subjects and '
        "seeds, with the 95 % interval, and in how many subjects the method's score is the "
        "higher. Intervals are not corrected for the number of comparisons.</p>\n"
    )
    return table(["method", *map(_heading, names)], rows, "scores") + note


def _change(method: MethodSummary, name: ScoreName) -> Markup:
    difference = method.differences[name.key]
    if difference is None:
        return Markup(_EMPTY)
    interval = difference.interval
    body = f"{_signed(interval.mean)}{_mark(significance(difference, name.better))}"
    ends = ""
    if interval.low is not None and interval.high is not None:
        ends = f"<small>[{_signed(interval.low)}, {_signed(interval.high)}]</small>"
    return Markup(f"{body}{ends}<small>{difference.above} of {interval.subjects}</small>")


def _signed(value: float) -> str:
    """With a true minus."""
    return f"{value:.3f}".replace("-", "−")


def _scatter(summary: Summary) -> str:
    points = []
    for method in summary.methods:
        across, up = method.scores.get(_ACROSS), method.scores.get(_UP)
        if across is None or up is None:
            continue
        x, y = (None if s.low is None or s.high is None else (s.low, s.high) for s in (across, up))
        partial = any(partial_mark(method, key) for key in (_ACROSS, _UP))
        label = f"{method.name} {PARTIAL}" if partial else method.name
        points.append(ScatterPoint(label, across.mean, up.mean, x, y, comparable=not partial))
    if not points:
        return ""
    labels = [f"{name.label}: {name.meaning}" for name in map(score_name, (_ACROSS, _UP))]
    others = "" if all(p.comparable for p in points) else f", or not to be compared ({PARTIAL})"
    note = (
        '<p class="note">Up and to the right is better. The dashed line is the Pareto front; '
        f"hollow points are surpassed by another method in both scores{others}. Bars are the "
        "intervals of the table.</p>\n"
    )
    return draw_scatter(points, *labels) + note


def _by_subject(summary: Summary, subjects: Sequence[BenchmarkSubject]) -> str:
    """The scatter's two scores of every cell, mean over seeds."""
    keys = [key for key in (_UP, _ACROSS) if key in summary.scores]
    if not keys:
        return ""
    rows: list[list[str | Markup]] = []
    for subject in subjects:
        row: list[str | Markup] = [subject.name]
        for method in summary.methods:
            own = [
                r for r in summary.results if (r.method, r.subject) == (method.name, subject.name)
            ]
            row.append(" / ".join(_mean_of(own, key) for key in keys))
        rows.append(row)
    labels = " / ".join(score_name(key).label for key in keys)
    note = f'<p class="note">{text(labels)}, mean over seeds.</p>\n'
    return note + table(["subject", *(m.name for m in summary.methods)], rows, "scores")


def _mean_of(results: Sequence[CellResult], key: str) -> str:
    values = [v for r in results if (v := r.metrics.get(key)) is not None]
    return f"{sum(values) / len(values):.3f}" if values else _EMPTY


def _drawings(summary: Summary, subjects: Sequence[BenchmarkSubject], shown_prompts: int) -> str:
    parts = []
    for subject in subjects:
        of_seeds = [r for r in summary.results if r.subject == subject.name]
        first = min((r.seed for r in of_seeds), default=0)
        cells = [r for r in of_seeds if r.seed == first]
        drawn = {cell.method: read_images(cell.folder) for cell in cells if cell.status == "done"}
        prompts = _chosen(drawn, shown_prompts)
        rows = [_row(cell, drawn.get(cell.method, []), prompts) for cell in cells]
        photos = photo_strip([_opened(path) for path in _photo_files(subject)])
        title = (
            subject.name
            if subject.class_noun in subject.name
            else (f"{subject.name} ({subject.class_noun})")
        )
        body = drawing_table(prompts, rows) if prompts else "<p>Nothing is drawn yet.</p>\n"
        parts.append(subject_details(title, photos + body))
    return "".join(parts)


def _chosen(drawn: Mapping[str, Sequence[DrawnImage]], most: int) -> list[str]:
    """Prompts to show, evenly spread over the suite."""
    every = list(dict.fromkeys(image.prompt for images in drawn.values() for image in images))
    if len(every) <= most:
        return every
    return [every[index * len(every) // most] for index in range(most)]


def _row(cell: CellResult, images: Sequence[DrawnImage], prompts: Sequence[str]) -> DrawingRow:
    first: dict[str, Path] = {}
    for image in images:
        first.setdefault(image.prompt, image.file)
    # Drawings may have been deleted since, to save space.
    there = [path if (path := first.get(prompt)) and path.exists() else None for prompt in prompts]
    pictures = [None if path is None else _opened(path) for path in there]
    captions = [f"{cell.method}: {prompt}" for prompt in prompts]
    status = {"failed": "failed", "missing": "not run yet"}.get(cell.status, "no drawing")
    keys = [key for key in (_UP, _ACROSS) if cell.metrics.get(key) is not None]
    note = " · ".join(f"{score_name(key).label} {cell.metrics[key]:.2f}" for key in keys)
    return DrawingRow(cell.method, pictures, captions, note, status)


def _photo_files(subject: BenchmarkSubject) -> list[Path]:
    from idgen.prepare import find_photos

    return [photo.path for photo in find_photos(subject.photos)]


def _opened(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise UserError(f"cannot read {path} ({error}); delete it, it is then left out") from error
