"""Figures of matplotlib as SVG elements: the same for the same figure, with text as text."""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from markupsafe import escape

from idgen.errors import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FONT = 13
# Distinct for most kinds of colour blindness (Okabe & Ito 2008), darker where they were pale.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b3589a", "#8a6d00", "#3a86c8", "#555555")
INK = "#1d1d1f"
_GRID, _EDGE, _FAINT = "#eeeef1", "#b9b9c0", "#65656b"


@contextmanager
def figure_as_svg(
    width: int, height: int, said: str
) -> "Iterator[tuple[Figure, Callable[[], str]]]":
    """A figure to draw on, and what makes an SVG element of it, inside the context.

    Args:
        width: In pixels.
        height: In pixels.
        said: What it shows, for those who cannot see it.
    """
    from matplotlib import rc_context, rcdefaults, rcParams
    from matplotlib.figure import Figure

    with rc_context(), warnings.catch_warnings():
        # The browser has letters that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        rcdefaults()
        rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "idgen", "font.size": FONT})
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)

        def element() -> str:
            buffer = io.StringIO()
            nothing: dict[str, Any] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
            figure.savefig(buffer, format="svg", metadata=nothing)
            # In a page, an SVG element needs no document type and no name spaces.
            body = buffer.getvalue().partition("<svg ")[2].partition(">")[2]
            size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
            return f'<svg {size} role="img" aria-label="{escape(printable(said))}">{body}'

        yield figure, element


def standalone(element: str) -> str:
    """An SVG element as a file of its own."""
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f"{element.replace('<svg ', f'<svg {spaces} ', 1)}\n"


def dress(axes: "Axes") -> None:
    """Faint grid and edges, no ticks."""
    axes.grid(color=_GRID, linewidth=1)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_EDGE)
    axes.tick_params(length=0, pad=7, labelcolor=_FAINT)


def limits(values: "list[float]") -> tuple[float, float]:
    """A range with some air around the values."""
    low, high = min(values), max(values)
    air = max(0.08 * (high - low), 0.005)
    return low - air, high + air
