"""A comparison as files for programs and papers: JSON, CSV, Markdown, LaTeX."""

import csv
import io
import json
from dataclasses import asdict
from typing import Any

from idgen.benchmark.bootstrap import FEWEST_SUBJECTS, Difference, Interval
from idgen.benchmark.photos_row import PhotosRow
from idgen.benchmark.summary import MethodSummary, Summary
from idgen.report.scores import ScoreName, photo_values, score_name, score_values

EMPTY = "–"
PARTIAL = "†"
PHOTOS = "photos (each against the others)"
"""The row of what the subjects' photos score among themselves."""
_LATEX_ARROWS = {1: r"$\uparrow$", -1: r"$\downarrow$", 0: ""}
_LATEX_MARKS = {1: r"\,$\blacktriangle$", -1: r"\,$\blacktriangledown$", 0: ""}
_LATEX_LETTERS = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def significance(difference: Difference | None, better: int) -> int:
    """1 where a method is better than the reference beyond the interval, -1 worse, else 0."""
    return 0 if difference is None else difference.sign * better


def as_json(summary: Summary, made_by: dict[str, Any]) -> str:
    """Everything, with what made it.

    Args:
        summary: The numbers.
        made_by: The command, the version, the config.
    """
    content = {
        **made_by,
        "protocol": summary.protocol,
        "reference": summary.reference,
        "scores": list(summary.scores),
        "methods": [asdict(method) for method in summary.methods],
        "photos": None if summary.photos is None else asdict(summary.photos),
        "cells": [
            {
                "method": result.method,
                "subject": result.subject,
                "seed": result.seed,
                "status": result.status,
                "reason": result.reason,
                "exit_code": result.exit_code,
                "scores": score_values(result.metrics, summary.scores),
            }
            for result in summary.results
        ],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def as_csv(summary: Summary) -> str:
    """A row a cell; what the subject's photos score among themselves in columns of their own."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    of_photos = [photo_values(result.metrics) for result in summary.results]
    photo_keys = list(dict.fromkeys(key for values in of_photos for key in values))
    names = [*summary.scores, *(f"photos_{key}" for key in photo_keys)]
    writer.writerow(["method", "subject", "seed", "status", *names, "exit_code", "reason"])
    for result, photos in zip(summary.results, of_photos, strict=True):
        values = [
            *score_values(result.metrics, summary.scores).values(),
            *(photos.get(key) for key in photo_keys),
        ]
        shown = ["" if value is None else f"{value:.6f}" for value in values]
        writer.writerow(
            [
                *(result.method, result.subject, result.seed, result.status),
                *shown,
                *(result.exit_code, result.reason),
            ]
        )
    return buffer.getvalue()


def as_markdown(summary: Summary) -> str:
    """A row a method: mean ± half the 95 % interval, marked against the reference."""
    names = [score_name(score) for score in summary.scores]
    head = ["method", "cells", *(f"{name.label} {name.arrow}".strip() for name in names)]
    lines = [_markdown_row(head), _markdown_row(["---"] * len(head))]
    for method in summary.methods:
        cells = [_markdown_entry(summary, method, name) for name in names]
        lines.append(_markdown_row([_escaped(method.name), counted(method), *cells]))
    if summary.photos is not None:
        cells = [photos_text(summary.photos, name.key) for name in names]
        lines.append(_markdown_row([f"*{PHOTOS}*", counted_subjects(summary.photos), *cells]))
    return "\n".join([*lines, "", _escaped(footnote(summary)), ""])


def as_latex(summary: Summary) -> str:
    """The same as a tabular for booktabs."""
    names = [score_name(score) for score in summary.scores]
    head = [f"{_latex(name.label)} {_LATEX_ARROWS[name.better]}".strip() for name in names]
    lines = [
        f"% {' '.join(footnote(summary).split())}",
        rf"\begin{{tabular}}{{lr{'c' * len(names)}}}",
        r"\toprule",
        " & ".join(["Method", "Cells", *head]) + r" \\",
        r"\midrule",
    ]
    for method in summary.methods:
        cells = [_latex_entry(summary, method, name) for name in names]
        lines.append(" & ".join([_latex(method.name), counted(method), *cells]) + r" \\")
    if summary.photos is not None:
        cells = [_latex_text(photos_text(summary.photos, name.key)) for name in names]
        head = [rf"\textit{{{_latex(PHOTOS)}}}", counted_subjects(summary.photos)]
        lines += [r"\midrule", " & ".join([*head, *cells]) + r" \\"]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def interval_text(interval: Interval | None) -> str:
    """Mean ± half the interval, a dash where there is no score."""
    if interval is None:
        return EMPTY
    half = interval.half_width
    return f"{interval.mean:.3f}" + ("" if half is None else f" ± {half:.3f}")


def counted(method: MethodSummary) -> str:
    """How many of a method's cells were finished."""
    whole = method.finished == method.planned
    return f"{method.planned}" if whole else f"{method.finished} of {method.planned}"


def counted_subjects(photos: PhotosRow) -> str:
    """Of how many subjects the photos' scores are known."""
    some = "" if photos.scored == photos.planned else f"{photos.scored} of "
    return f"{some}{photos.planned} subject{'' if photos.planned == 1 else 's'}"


def photos_text(photos: PhotosRow, key: str) -> str:
    """The photos' mean ± half the interval, with the sign of one that lacks subjects."""
    return interval_text(photos.scores[key]) + (PARTIAL if key in photos.partial else "")


def footnote(summary: Summary) -> str:
    """What the numbers and marks say."""
    said = f"Mean over subjects ± half the 95 % bootstrap interval, best in bold. {marks(summary)}"
    return said if summary.photos is None else f"{said} {photos_note(summary.photos)}"


def photos_note(photos: PhotosRow) -> str:
    """What the row of the photos is, and of which subjects."""
    said = (
        "The last row is no method but the scale: each of a subject's photos against its other "
        "ones, over the subjects of the methods"
    )
    if photos.scored < photos.planned:
        said += (
            f", {photos.scored} of {photos.planned} here: the others have a single photo, or no "
            "finished cell that scored the photos"
        )
    return f"{said}."


def marks(summary: Summary) -> str:
    """What the signs say, or why there are none."""
    most = max((i.subjects for m in summary.methods for i in m.scores.values() if i), default=0)
    if most < FEWEST_SUBJECTS:
        few = "1 subject is" if most == 1 else f"{most} subjects are"
        said = f"{few} too few to call any difference one."
    else:
        said = f"▲ better, ▼ worse than {summary.reference}: the paired interval excludes 0."
    photos = () if summary.photos is None else summary.photos.partial
    if photos or any(method.partial for method in summary.methods):
        said += (
            f" {PARTIAL} over fewer subjects or seeds than another method: no mean to compare with "
            "others."
        )
    return said


def partial_mark(method: MethodSummary, key: str) -> str:
    """The sign of a mean that lacks a subject or a seed, empty for others."""
    return PARTIAL if key in method.partial else ""


def _markdown_entry(summary: Summary, method: MethodSummary, name: ScoreName) -> str:
    text = interval_text(method.scores[name.key]) + partial_mark(method, name.key)
    text = f"**{text}**" if method.name in summary.best(name) else text
    mark = {1: " ▲", -1: " ▼"}.get(significance(method.differences[name.key], name.better), "")
    return text + mark


def _latex_entry(summary: Summary, method: MethodSummary, name: ScoreName) -> str:
    text = _latex_text(interval_text(method.scores[name.key]))
    text = rf"\textbf{{{text}}}" if method.name in summary.best(name) else text
    text += _latex_text(partial_mark(method, name.key))
    return text + _LATEX_MARKS[significance(method.differences[name.key], name.better)]


def _latex_text(text: str) -> str:
    for sign, latex in (("±", r"$\pm$"), (EMPTY, "--"), (PARTIAL, r"$^\dagger$")):
        text = text.replace(sign, latex)
    return text


def _markdown_row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """On one line, since a row is one."""
    return "".join(f"\\{c}" if c in r"\|*_`[]<>#" else c for c in " ".join(text.split()))


def _latex(text: str) -> str:
    return "".join(_LATEX_LETTERS.get(c, c) for c in " ".join(text.split()))
