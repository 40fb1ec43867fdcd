"""Drawings in a table: what the numbers mean, for people."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from idgen.report.elements import Markup, picture, table, text

_SIDE = 160
_PHOTO_SIDE = 192


@dataclass(frozen=True)
class DrawingRow:
    """A row of drawings.

    Attributes:
        name: What it shows: a method, or a prompt.
        pictures: Its drawings, one a column; None where there is none.
        captions: What each shows.
        note: Small print below the name.
        empty: What stands in place of drawings that are not there.
    """

    name: str
    pictures: Sequence[Image.Image | None]
    captions: Sequence[str]
    note: str = ""
    empty: str = "no drawing"


def photo_strip(photos: Sequence[Image.Image]) -> str:
    """The subject's photos side by side; nothing if there are none."""
    if not photos:
        return ""
    shown = "".join(picture(photo, _PHOTO_SIDE, "photo of the subject").html for photo in photos)
    return f'<div class="photos">{shown}</div>\n'


def drawing_table(columns: Sequence[str], rows: Sequence[DrawingRow]) -> str:
    """A table of drawings.

    Args:
        columns: Headings, such as prompts.
        rows: Rows of as many drawings.

    Returns:
        HTML.
    """
    return table(["", *columns], [[_heading(row), *_cells(row)] for row in rows], "drawings")


def _heading(row: DrawingRow) -> Markup:
    note = f"<br><small>{text(row.note)}</small>" if row.note else ""
    return Markup(f"{text(row.name)}{note}")


def _cells(row: DrawingRow) -> list[str | Markup]:
    return [
        row.empty if image is None else picture(image, _SIDE, caption)
        for image, caption in zip(row.pictures, row.captions, strict=True)
    ]


def subject_details(name: str, body: str) -> str:
    """A subject's part, which can be folded away."""
    return f"<details open><summary><h3>{text(name)}</h3></summary>\n{body}</details>\n"
