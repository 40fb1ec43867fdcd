"""Drawings in a table, and photos in a strip: what the macros of the templates show."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from PIL import Image

from idgen.pages.rendering import picture

_SIDE = 160
_PHOTO_SIDE = 192


@dataclass(frozen=True)
class DrawingRow:
    """A row of drawings.

    Attributes:
        name: What it shows: a method, or a prompt.
        cells: Its drawings, one a column, each a `drawing`; text where there is none.
        note: Small print below the name.
    """

    name: str
    cells: Sequence[Markup | str]
    note: str = ""


def drawing(image: Image.Image, caption: str) -> Markup:
    """A drawing in the size of a table's cell; the caption says what it shows."""
    return picture(image, _SIDE, caption)


def photo(image: Image.Image) -> Markup:
    """A photo in the size of a strip."""
    return picture(image, _PHOTO_SIDE, "photo of the subject")
