"""One small scatter a group, side by side on the same axes: what differs from group to group."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from idgen.errors import printable
from idgen.pages.scatter import ScatterPoint
from idgen.pages.svg import COLOURS, INK, dress, figure_as_svg, limits

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKS = "os^Dv"
_ACROSS, _WIDTH, _HEIGHT = 3, 250, 210
_LEFT, _TOP, _GAP, _BELOW = 62, 30, 26, 56
_LEGEND = 22  # pixels a line
_LONGEST = 40


@dataclass(frozen=True)
class Panel:
    """A group of points.

    Attributes:
        title: What they have in common.
        points: At least one; points of one name are marked alike in all panels.
    """

    title: str
    points: Sequence[ScatterPoint]


def draw_panels(
    panels: Sequence[Panel], x_label: str, y_label: str, less_is_better: bool = False
) -> str:
    """Draws the panels, three in a row, with one legend below them.

    Args:
        panels: At least one.
        x_label: Name of the horizontal score.
        y_label: Name of the vertical one.
        less_is_better: Whether the horizontal axis runs from right to left, so that what is better
            is always to the right.

    Returns:
        An SVG element: the same for the same points, with text as text, and nothing from outside.

    Raises:
        ValueError: If there is no point, or a coordinate is not finite.
    """
    points = [point for panel in panels for point in panel.points]
    across = [v for p in points for v in (p.x, *(p.x_interval or ()))]
    up = [v for p in points for v in (p.y, *(p.y_interval or ()))]
    if not points or not all(math.isfinite(v) for v in across + up):
        raise ValueError("panels: at least one point, with finite scores, is needed")
    names = list(dict.fromkeys(point.name for point in points))
    columns = min(_ACROSS, len(panels))
    rows = math.ceil(len(panels) / columns)
    legend_columns = max(1, min(columns, len(names)))
    legend = math.ceil(len(names) / legend_columns) * _LEGEND
    width = _LEFT + columns * (_WIDTH + _GAP)
    height = rows * (_TOP + _HEIGHT + _GAP) + _BELOW + legend
    said = f"{y_label} against {x_label}, for each of {len(panels)} groups"
    with figure_as_svg(width, height, said) as (figure, element):
        for number, panel in enumerate(panels):
            row, column = divmod(number, columns)
            left = _LEFT + column * (_WIDTH + _GAP)
            bottom = height - row * (_TOP + _HEIGHT + _GAP) - _TOP - _HEIGHT
            place = left / width, bottom / height, _WIDTH / width, _HEIGHT / height
            axes = figure.add_axes(place, xlim=limits(across), ylim=limits(up))
            if less_is_better:
                axes.invert_xaxis()
            _draw_panel(axes, panel, names)
            if column:
                axes.tick_params(labelleft=False)
            if number + columns < len(panels):
                axes.tick_params(labelbottom=False)
        middle = (_LEFT + columns * (_WIDTH + _GAP) / 2) / width
        ink: dict[str, Any] = {"color": INK, "ha": "center", "va": "center", "parse_math": False}
        figure.text(middle, (legend + 14) / height, printable(x_label), **ink)
        up_middle = 1 - rows * (_TOP + _HEIGHT + _GAP) / 2 / height
        figure.text(14 / width, up_middle, printable(y_label), rotation=90, **ink)
        handles = [_mark(None, name, names) for name in names]
        shown = [_shortened(name) for name in names]
        figure.legend(
            handles, shown, loc="lower center", ncols=legend_columns, frameon=False, borderpad=0
        )
        return element()


def _draw_panel(axes: "Axes", panel: Panel, names: Sequence[str]) -> None:
    dress(axes)
    axes.locator_params(axis="x", nbins=5)
    axes.locator_params(axis="y", nbins=6)
    axes.set_title(_shortened(panel.title), fontsize=12, color=INK, loc="left", parse_math=False)
    for point in panel.points:
        mark = _mark(axes, point.name, names)
        thin: dict[str, Any] = {"color": mark.get_color(), "linewidth": 1.2, "alpha": 0.4}
        if point.x_interval is not None:
            axes.plot(point.x_interval, (point.y, point.y), **thin)
        if point.y_interval is not None:
            axes.plot((point.x, point.x), point.y_interval, **thin)
        mark.set_data([point.x], [point.y])


def _mark(axes: "Axes | None", name: str, names: Sequence[str]) -> Any:
    """A method's mark, in a panel or in the legend."""
    from matplotlib.lines import Line2D

    at = names.index(name)
    style: dict[str, Any] = {
        "color": COLOURS[at % len(COLOURS)],
        "marker": _MARKS[at // len(COLOURS) % len(_MARKS)],
        "linestyle": "none",
        "markersize": 8,
        "markeredgecolor": "#ffffff",
        "markeredgewidth": 1,
        "zorder": 3,
    }
    return Line2D([], [], **style) if axes is None else axes.plot([], [], **style)[0]


def _shortened(text: str) -> str:
    text = printable(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
