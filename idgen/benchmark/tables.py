"""A comparison as files for programs and papers: JSON, CSV, Markdown, LaTeX."""

import csv
import io
import json
from dataclasses import asdict, dataclass
from typing import Any

from idgen.benchmark.bootstrap import FEWEST_SUBJECTS, Interval
from idgen.benchmark.comparison import Comparison
from idgen.benchmark.photos_row import PhotosRow
from idgen.benchmark.summary import MethodSummary, Summary
from idgen.pages.scores import photo_values, score_name, score_values

EMPTY = "–"
PARTIAL = "†"
HOLM = "ᴴ"
PHOTOS = "photos (each against the others)"
"""The row of what the subjects' photos score among themselves."""
_MARKS = {1: " ▲", -1: " ▼", 0: ""}
_LATEX_ARROWS = {1: r"$\uparrow$", -1: r"$\downarrow$", 0: ""}
_LATEX_MARKS = {1: r"\,$\blacktriangle$", -1: r"\,$\blacktriangledown$", 0: ""}
_LATEX_HOLM = r"$^\mathrm{H}$"
_LATEX_SIGNS = {"±": r"$\pm$", EMPTY: "--", PARTIAL: r"$^\dagger$"}
_LATEX_LETTERS = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


@dataclass(frozen=True)
class Entry:
    """A score in the table.

    Attributes:
        interval: Mean and interval; None where there is no score.
        partial: `PARTIAL` where the mean lacks a subject or a seed, else empty.
        best: Whether it is the best of its column.
        direction: 1 where it is better than the reference's beyond the interval, -1 worse, else 0.
        holds: Whether it is so after Holm's correction too.
    """

    interval: Interval | None
    partial: str = ""
    best: bool = False
    direction: int = 0
    holds: bool = False

    @property
    def holm(self) -> str:
        """`HOLM` where it holds, else empty."""
        return HOLM if self.holds else ""

    def __str__(self) -> str:
        """Mean ± half the interval, a dash where there is no score."""
        if self.interval is None:
            return EMPTY
        half = self.interval.half_width
        spread = "" if half is None else f" ± {half:.3f}"
        return f"{self.interval.mean:.3f}{spread}{self.partial}"


def method_entries(summary: Summary, method: MethodSummary) -> list[Entry]:
    """The row of one of the summary's methods, a score a column."""
    entries = []
    for name in map(score_name, summary.scores):
        difference = method.differences[name.key]
        entries.append(
            Entry(
                method.scores[name.key],
                PARTIAL if name.key in method.partial else "",
                method.name in summary.best(name),
                0 if difference is None else difference.sign * name.better,
                difference is not None and bool(name.better) and difference.holds,
            )
        )
    return entries


def photos_entries(photos: PhotosRow) -> list[Entry]:
    """The row of the photos, a score a column."""
    return [
        Entry(interval, PARTIAL if key in photos.partial else "")
        for key, interval in photos.scores.items()
    ]


def as_json(comparison: Comparison, made_by: dict[str, Any]) -> str:
    """Everything, with what made it: the command, the version, the config."""
    shown = ("method", "subject", "regime", "seed", "status", "reason", "exit_code")
    content = {
        **made_by,
        "protocol": comparison.protocol,
        "reference": comparison.summaries[0].reference,
        "scores": comparison.scores,
        "regimes": {
            summary.regime: {
                "methods": [asdict(method) for method in summary.methods],
                "photos": None if summary.photos is None else asdict(summary.photos),
            }
            for summary in comparison.summaries
        },
        "cells": [
            {key: getattr(result, key) for key in shown}
            | {"scores": score_values(result.metrics, comparison.scores)}
            for result in comparison.results
        ],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def as_csv(comparison: Comparison) -> str:
    """A row a cell; what the subject's photos score among themselves in columns of their own."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    results = comparison.results
    of_photos = [photo_values(result.metrics) for result in results]
    photo_keys = list(dict.fromkeys(key for values in of_photos for key in values))
    names = [*comparison.scores, *(f"photos_{key}" for key in photo_keys)]
    first = ["method", "subject", "regime", "seed", "status"]
    writer.writerow([*first, *names, "exit_code", "reason"])
    for result, photos in zip(results, of_photos, strict=True):
        scores = score_values(result.metrics, comparison.scores)
        values = [*scores.values(), *map(photos.get, photo_keys)]
        shown = ["" if value is None else f"{value:.6f}" for value in values]
        cell = [getattr(result, key) for key in first]
        writer.writerow([*cell, *shown, result.exit_code, result.reason])
    return buffer.getvalue()


def as_markdown(summary: Summary) -> str:
    """A row a method: mean ± half the 95 % interval, marked against the reference."""
    names = [score_name(score) for score in summary.scores]
    head = ["method", "cells", *(f"{name.label} {name.arrow}".strip() for name in names)]
    rows = [head, ["---"] * len(head)]
    for method in summary.methods:
        cells = map(markdown_entry, method_entries(summary, method))
        rows.append([escaped(method.name), counted(method), *cells])
    if summary.photos is not None:
        cells = map(markdown_entry, photos_entries(summary.photos))
        rows.append([f"*{PHOTOS}*", counted_subjects(summary.photos), *cells])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, "", escaped(footnote(summary)), ""])


def as_latex(summary: Summary) -> str:
    """The same as a tabular for booktabs."""
    names = [score_name(score) for score in summary.scores]
    head = [f"{_latex(name.label)} {_LATEX_ARROWS[name.better]}".strip() for name in names]
    lines = [
        f"% {' '.join(footnote(summary).split())}",
        rf"\begin{{tabular}}{{lr{'c' * len(names)}}}",
        r"\toprule",
        _latex_row(["Method", "Cells", *head]),
        r"\midrule",
    ]
    for method in summary.methods:
        cells = map(_latex_entry, method_entries(summary, method))
        lines.append(_latex_row([_latex(method.name), counted(method), *cells]))
    if summary.photos is not None:
        cells = map(_latex_entry, photos_entries(summary.photos))
        label = rf"\textit{{{_latex(PHOTOS)}}}"
        lines += [r"\midrule", _latex_row([label, counted_subjects(summary.photos), *cells])]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def counted(method: MethodSummary) -> str:
    """How many of a method's cells were finished."""
    whole = method.finished == method.planned
    return f"{method.planned}" if whole else f"{method.finished} of {method.planned}"


def counted_subjects(photos: PhotosRow) -> str:
    """Of how many subjects the photos' scores are known."""
    some = "" if photos.scored == photos.planned else f"{photos.scored} of "
    return f"{some}{photos.planned} subject{'' if photos.planned == 1 else 's'}"


def footnote(summary: Summary) -> str:
    """What the numbers and marks say."""
    said = f"Mean over subjects ± half the 95 % bootstrap interval, best in bold. {marks(summary)}"
    return said if summary.photos is None else f"{said} {photos_note(summary.photos)}"


def photos_note(photos: PhotosRow) -> str:
    """What the row of the photos is, and of which subjects."""
    said = (
        "The last row is not a method: it compares each photo with the other photos of its "
        "subject, and so gives the scale for the rows above."
    )
    if photos.scored < photos.planned:
        said += (
            f" It covers {photos.scored} of {photos.planned} subjects: the others have a single "
            "photo, or no finished cell that scored the photos."
        )
    return said


def marks(summary: Summary) -> str:
    """What the signs say, or why there are none."""
    most = max((i.subjects for m in summary.methods for i in m.scores.values() if i), default=0)
    if most < FEWEST_SUBJECTS:
        few = f"{most} subject{'' if most == 1 else 's'}"
        said = f"With {few}, no difference is marked: at least {FEWEST_SUBJECTS} are needed."
    else:
        said = (
            f"▲ better, ▼ worse than {summary.reference}: the paired interval excludes 0; {HOLM}: "
            "it holds after Holm's correction over all methods and regimes of the score."
        )
    photos = () if summary.photos is None else summary.photos.partial
    if photos or any(method.partial for method in summary.methods):
        said += (
            f" {PARTIAL} covers fewer subjects or seeds than another method's mean: do not compare "
            "the two."
        )
    return said


def markdown_entry(entry: Entry) -> str:
    """An entry as Markdown, with its marks."""
    return (f"**{entry}**" if entry.best else str(entry)) + _MARKS[entry.direction] + entry.holm


def _latex_entry(entry: Entry) -> str:
    text = "".join(_LATEX_SIGNS.get(c, c) for c in str(entry))
    marks = _LATEX_MARKS[entry.direction] + (_LATEX_HOLM if entry.holds else "")
    return (rf"\textbf{{{text}}}" if entry.best else text) + marks


def _latex_row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def escaped(text: str) -> str:
    """Text for a cell of Markdown, on one line, since a row is one."""
    return "".join(f"\\{c}" if c in r"\|*_`[]<>#" else c for c in " ".join(text.split()))


def _latex(text: str) -> str:
    return "".join(_LATEX_LETTERS.get(c, c) for c in " ".join(text.split()))
