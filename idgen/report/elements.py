"""Pieces of a page: escaped text, pictures as data, tables."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

_QUALITY = 86


@dataclass(frozen=True)
class Markup:
    """HTML that is safe as it stands; all else is escaped."""

    html: str


def text(words: str) -> str:
    """Escapes text for element contents and attributes; unprintable letters are replaced."""
    return html.escape("".join(c if c.isprintable() else "\ufffd" for c in words))


def picture(image: Image.Image, side: int, caption: str) -> Markup:
    """An image element that carries its picture with it.

    Args:
        image: The picture.
        side: Pixels that its longer side is reduced to; smaller ones are left as they are.
        caption: What it shows, for those who cannot see it and under the mouse.
    """
    small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=_QUALITY, subsampling=0, optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    said = text(caption)
    return Markup(
        f'<img src="data:image/jpeg;base64,{data}" width="{small.width}" '
        f'height="{small.height}" alt="{said}" title="{said}">'
    )


def table(
    head: Sequence[str | Markup],
    rows: Sequence[Sequence[str | Markup]],
    kind: str = "",
    apart: Sequence[Sequence[str | Markup]] = (),
) -> str:
    """A table; the first cell of each row is its heading.

    Args:
        head: Headings of the columns.
        rows: Cells; text is escaped.
        kind: CSS class.
        apart: Further rows below a line, of another sort than the first ones.

    Returns:
        HTML, in a box that scrolls sideways where the window is narrow.
    """
    headings = "".join(f'<th scope="col">{_content(cell)}</th>' for cell in head)
    below = f'<tbody class="apart">\n{_lines(apart)}</tbody>\n' if apart else ""
    return (
        f'<div class="wide"><table class="{text(kind)}">\n<thead><tr>{headings}</tr></thead>\n'
        f"<tbody>\n{_lines(rows)}</tbody>\n{below}</table></div>\n"
    )


def _lines(rows: Sequence[Sequence[str | Markup]]) -> str:
    lines = []
    for first, *others in rows:
        cells = "".join(f"<td>{_content(cell)}</td>" for cell in others)
        lines.append(f'<tr><th scope="row">{_content(first)}</th>{cells}</tr>\n')
    return "".join(lines)


def _content(cell: str | Markup) -> str:
    return cell.html if isinstance(cell, Markup) else text(cell)
