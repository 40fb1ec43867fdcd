"""The comparison's page: table, scatter, drawings of every method beside the photos."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from PIL import Image, UnidentifiedImageError

from idgen.benchmark import tables
from idgen.benchmark.comparison import Comparison
from idgen.benchmark.overview import overview_picture, overview_rows, overview_scores
from idgen.benchmark.results import CellResult, read_images
from idgen.benchmark.subjects import BenchmarkSubject
from idgen.benchmark.summary import Summary
from idgen.errors import UserError
from idgen.pages.drawings import DrawingRow, drawing, photo
from idgen.pages.rendering import render_page
from idgen.pages.scatter import ScatterPoint, draw_scatter
from idgen.pages.scores import score_name

_ACROSS, _UP = "clip_t", "dino"


def render_report(
    comparison: Comparison,
    subjects: Sequence[BenchmarkSubject],
    shown_prompts: int,
    made_by: Mapping[str, Any],
) -> bytes:
    """Writes the page, UTF-8, pictures and all.

    Args:
        comparison: The numbers.
        subjects: The subjects, in order.
        shown_prompts: Prompts of each subject that are shown.
        made_by: `command` and `idgen_version`.

    Raises:
        UserError: If drawings or photos cannot be read.
    """
    results, summaries = comparison.results, comparison.summaries
    several = len(summaries) > 1
    return render_page(
        "benchmark.html",
        comparison=comparison,
        reference=summaries[0].reference,
        methods=[method.name for method in summaries[0].methods],
        subjects=subjects,
        seeds={result.seed for result in results},
        finished=sum(result.status == "done" for result in results),
        parts=[_part(summary) for summary in summaries],
        overview=_overview(comparison) if several else None,
        photos_name=tables.PHOTOS,
        holm=tables.HOLM,
        drawn=[draw_subject(results, subject, shown_prompts) for subject in subjects],
        pair=[score_name(key).label for key in (_UP, _ACROSS) if key in comparison.scores],
        by_subject=[(subject.name, _by_method(comparison, subject)) for subject in subjects],
        facts={"idgen": made_by["idgen_version"], **comparison.protocol},
        command=made_by["command"],
    )


def _part(summary: Summary) -> dict[str, Any]:
    """What the page shows of a regime."""
    points, of_photos, marks = _points(summary), None, tables.marks(summary)
    if summary.photos is not None:
        of_photos = tables.counted_subjects(summary.photos), tables.photos_entries(summary.photos)
        marks = f"{marks} {tables.photos_note(summary.photos)}"
    return {
        "summary": summary,
        "names": [score_name(score) for score in summary.scores],
        "rows": [
            (m.name, tables.counted(m), tables.method_entries(summary, m)) for m in summary.methods
        ],
        "of_photos": of_photos,
        "marks": marks,
        "scatter": _scatter(points),
        "incomparable": "" if all(p.comparable for p in points) else tables.PARTIAL,
    }


def _overview(comparison: Comparison) -> dict[str, Any]:
    names = overview_scores(comparison)
    return {
        "picture": overview_picture(comparison),
        "tables": [(name, overview_rows(comparison, name.key)) for name in names],
    }


def _points(summary: Summary) -> list[ScatterPoint]:
    points = []
    for method in summary.methods:
        across, up = method.scores.get(_ACROSS), method.scores.get(_UP)
        if across is None or up is None:
            continue
        partial = not {_ACROSS, _UP}.isdisjoint(method.partial)
        label = f"{method.name} {tables.PARTIAL}" if partial else method.name
        points.append(
            ScatterPoint(label, across.mean, up.mean, across.ends, up.ends, comparable=not partial)
        )
    return points


def _scatter(points: Sequence[ScatterPoint]) -> Markup | None:
    labels = [f"{name.label}: {name.meaning}" for name in map(score_name, (_ACROSS, _UP))]
    return Markup(draw_scatter(points, *labels)) if points else None


def _by_method(comparison: Comparison, subject: BenchmarkSubject) -> Iterator[str]:
    """The scatter's two scores of every method on a subject, mean over seeds."""
    keys = [key for key in (_UP, _ACROSS) if key in comparison.scores]
    for method in comparison.summaries[0].methods:
        place = (method.name, subject.name)
        own = [r.metrics for r in comparison.results if (r.method, r.subject) == place]
        yield " / ".join(_mean([metrics.get(key) for metrics in own]) for key in keys)


def _mean(values: Sequence[float | None]) -> str:
    there = [value for value in values if value is not None]
    return f"{sum(there) / len(there):.3f}" if there else tables.EMPTY


def draw_subject(
    results: Sequence[CellResult], subject: BenchmarkSubject, shown_prompts: int
) -> dict[str, Any]:
    """A subject's part of the page: its photos, and the drawings of its first seed."""
    from idgen.prepare import find_photos

    of_seeds = [result for result in results if result.subject == subject.name]
    first = min((result.seed for result in of_seeds), default=0)
    cells = [result for result in of_seeds if result.seed == first]
    drawn = {cell.method: read_images(cell.folder) for cell in cells if cell.status == "done"}
    prompts = _chosen(drawn, shown_prompts)
    named = subject.class_noun in subject.name
    return {
        "title": subject.name if named else f"{subject.name} ({subject.class_noun})",
        "photos": [photo(_opened(found.path)) for found in find_photos(subject.photos)],
        "prompts": prompts,
        "nothing": "The drawings lie elsewhere." if drawn else "Nothing is drawn yet.",
        "rows": [_row(cell, drawn.get(cell.method, {}), prompts) for cell in cells],
    }


def _chosen(drawn: Mapping[str, Mapping[str, Path]], most: int) -> list[str]:
    """Prompts to show, evenly spread over the suite."""
    every = list(dict.fromkeys(prompt for files in drawn.values() for prompt in files))
    if len(every) <= most:
        return every
    return [every[index * len(every) // most] for index in range(most)]


def _row(cell: CellResult, files: Mapping[str, Path], prompts: Sequence[str]) -> DrawingRow:
    drawn = "no drawing" if cell.folder.exists() else "drawn elsewhere"
    status = {"failed": "failed", "missing": "not run yet"}.get(cell.status, drawn)
    keys = [key for key in (_UP, _ACROSS) if cell.metrics.get(key) is not None]
    note = " · ".join(f"{score_name(key).label} {cell.metrics[key]:.2f}" for key in keys)
    # Drawings may have been deleted since, to save space.
    cells = [
        drawing(_opened(file), f"{cell.method}: {prompt}")
        if (file := files.get(prompt)) is not None and file.exists()
        else status
        for prompt in prompts
    ]
    return DrawingRow(cell.method, cells, note)


def _opened(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise UserError(f"cannot read {path} ({error}); delete it, it is then left out") from error
