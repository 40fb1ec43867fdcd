"""Two scores against each other, as SVG: intervals, the Pareto front, labels side by side."""

import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from idgen.errors import printable
from idgen.pages.svg import COLOURS, FONT, INK, dress, figure_as_svg, limits

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 640, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 20, 16, 52
_LINE = 17
_RADIUS = 5.5
_LONGEST = 56  # letters of a label; tables show the whole name


@dataclass(frozen=True)
class ScatterPoint:
    """A method's two scores.

    Attributes:
        name: Its label.
        x: Score on the horizontal axis.
        y: Score on the vertical axis.
        x_interval: Ends of the interval of x, None without.
        y_interval: Ends of the interval of y, None without.
        comparable: Whether it may surpass others, and be surpassed.
    """

    name: str
    x: float
    y: float
    x_interval: tuple[float, float] | None = None
    y_interval: tuple[float, float] | None = None
    comparable: bool = True


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels, from its left lower corner."""

    left: float
    bottom: float
    width: float
    height: float

    def shared(self, other: "Box") -> float:
        """The area that two rectangles share."""
        right = min(self.left + self.width, other.left + other.width)
        top = min(self.bottom + self.height, other.bottom + other.height)
        width, height = right - max(self.left, other.left), top - max(self.bottom, other.bottom)
        return max(width, 0) * max(height, 0)


def pareto_front(points: Sequence[ScatterPoint]) -> list[ScatterPoint]:
    """The points that no other one reaches in both scores and surpasses in one; more is better.

    Args:
        points: Any number; those that are not comparable are left out.

    Returns:
        Those on the front, from left to right.
    """
    points = [point for point in points if point.comparable]
    kept = [
        p
        for p in points
        if not any(o.x >= p.x and o.y >= p.y and (o.x > p.x or o.y > p.y) for o in points)
    ]
    return sorted(kept, key=lambda p: (p.x, -p.y))


def place_labels(
    spots: Sequence[tuple[float, float]],
    widths: Sequence[float],
    frame: Box,
    bars: Sequence[Box] = (),
) -> list[Box]:
    """Finds a place near its spot for each label.

    Of the places around the spot, each label takes the nearest that covers no other label and no
    spot, and better no bar; where none is free, the one that covers least.

    Args:
        spots: Where the points are, in pixels.
        widths: How wide the labels are, in pixels.
        frame: Where labels may stand.
        bars: What labels should rather not cover.
    """
    side = 2 * _RADIUS + 2
    taken = [Box(x - side / 2, y - side / 2, side, side) for x, y in spots]
    placed: list[Box] = []

    def cost(place: tuple[int, Box]) -> float:
        ring, box = place
        return 1000 * sum(map(box.shared, taken)) + sum(map(box.shared, bars)) + 30 * ring

    for (x, y), width in zip(spots, widths, strict=True):
        _, box = min(_places(x, y, min(width, frame.width), frame), key=cost)
        placed.append(box)
        taken.append(box)
    return placed


def _places(x: float, y: float, width: float, frame: Box) -> Iterator[tuple[int, Box]]:
    """Places around a point inside the frame, with the number of their ring, nearest first."""
    for ring in range(30):
        gap = _RADIUS + 4 + 9 * ring
        around = 8 if ring < 2 else 16
        for step in range(around):
            angle = 2 * math.pi * step / around
            left = x + math.cos(angle) * (gap + width / 2) - width / 2
            bottom = y + math.sin(angle) * (gap + _LINE / 2) - _LINE / 2
            left = min(max(left, frame.left), frame.left + frame.width - width)
            bottom = min(max(bottom, frame.bottom), frame.bottom + frame.height - _LINE)
            yield ring, Box(left, bottom, width, _LINE)


def draw_scatter(points: Sequence[ScatterPoint], x_label: str, y_label: str) -> str:
    """Draws the points.

    Args:
        points: At least one.
        x_label: Name of the horizontal score.
        y_label: Name of the vertical one.

    Returns:
        An SVG element: the same for the same points, with text as text, and nothing from outside.

    Raises:
        ValueError: If there is no point, or a coordinate is not finite.
    """
    across = [v for p in points for v in (p.x, *(p.x_interval or ()))]
    up = [v for p in points for v in (p.y, *(p.y_interval or ()))]
    if not points or not all(math.isfinite(v) for v in across + up):
        raise ValueError("points: at least one, with finite scores, is needed")
    with figure_as_svg(WIDTH, HEIGHT, f"{y_label} against {x_label}") as (figure, element):
        width, height = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
        axes = figure.add_axes(
            (_LEFT / WIDTH, _BOTTOM / HEIGHT, width / WIDTH, height / HEIGHT),
            xlim=limits(across),
            ylim=limits(up),
        )
        _dress(axes, x_label, y_label)
        _draw_front(axes, pareto_front(points))
        _draw_points(axes, points, Box(_LEFT, _BOTTOM, width, height))
        return element()


def _dress(axes: "Axes", x_label: str, y_label: str) -> None:
    dress(axes)
    axes.locator_params(nbins=7)
    axes.set_xlabel(printable(x_label), color=INK, labelpad=6, parse_math=False)
    axes.set_ylabel(printable(y_label), color=INK, labelpad=6, parse_math=False)


def _draw_front(axes: "Axes", front: Sequence[ScatterPoint]) -> None:
    """The front as stairs: what lies below them is surpassed; nothing without a front."""
    if front:
        x = [axes.get_xlim()[0], *(p.x for p in front), front[-1].x]
        y = [front[0].y, *(p.y for p in front), axes.get_ylim()[0]]
        style: dict[str, Any] = {"color": "#9a9aa3", "linewidth": 1.5, "dashes": (4, 3)}
        axes.plot(x, y, drawstyle="steps-pre", gid="front", **style)


def _draw_points(axes: "Axes", points: Sequence[ScatterPoint], frame: Box) -> None:
    from matplotlib.transforms import IdentityTransform

    labels = [_label(point.name) for point in points]
    bars = [box for point in points for box in _bars(axes, point)]
    spots = [
        (float(x), float(y)) for x, y in axes.transData.transform([(p.x, p.y) for p in points])
    ]
    boxes = place_labels(spots, [_width(label) for label in labels], frame, bars)
    front = pareto_front(points)
    in_pixels: dict[str, Any] = {"transform": IdentityTransform()}
    white: dict[str, Any] = {"facecolor": "#ffffff", "alpha": 0.7, "linewidth": 0, "pad": 0}
    for index, (point, (x, y), box) in enumerate(zip(points, spots, boxes, strict=True)):
        colour = COLOURS[index % len(COLOURS)]
        _draw_point(axes, point, index, colour, point in front)
        near_x = min(max(x, box.left), box.left + box.width)
        near_y = min(max(y, box.bottom), box.bottom + box.height)
        if math.hypot(near_x - x, near_y - y) > 2.5 * _RADIUS:
            axes.plot((x, near_x), (y, near_y), color=colour, linewidth=1, alpha=0.6, **in_pixels)
        middle = box.left + box.width / 2, box.bottom + box.height / 2
        label = axes.text(*middle, labels[index], ha="center", va="center_baseline", **in_pixels)
        label.set(color=colour, weight="bold", parse_math=False, zorder=4, bbox=white)
        label.set_gid(f"label-{index}")


def _draw_point(axes: "Axes", point: ScatterPoint, index: int, colour: str, on_front: bool) -> None:
    thin: dict[str, Any] = {"color": colour, "linewidth": 1.5, "alpha": 0.45}
    thin["solid_capstyle"] = "butt"
    if point.x_interval is not None:
        axes.plot(point.x_interval, (point.y, point.y), gid=f"across-{index}", **thin)
    if point.y_interval is not None:
        axes.plot((point.x, point.x), point.y_interval, gid=f"up-{index}", **thin)
    [mark] = axes.plot(point.x, point.y, "o", markersize=2 * _RADIUS, gid=f"point-{index}")
    mark.set(markerfacecolor=colour if on_front else "#ffffff", markeredgecolor=colour)
    mark.set(markeredgewidth=2, zorder=3)


def _bars(axes: "Axes", point: ScatterPoint) -> Iterator[Box]:
    """The interval's bars as rectangles."""
    for ends in (
        [(x, point.y) for x in point.x_interval or ()],
        [(point.x, y) for y in point.y_interval or ()],
    ):
        if ends:
            (left, bottom), (right, top) = axes.transData.transform(ends)
            yield Box(left - 1, bottom - 1, right - left + 2, top - bottom + 2)


def _label(name: str) -> str:
    name = printable(name)
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _width(label: str) -> float:
    """Pixels that a label takes at most: matplotlib's font is wider than those of browsers."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    # Letters that the font lacks are the widest ones, two columns in a terminal.
    known = "".join("M" if unicodedata.east_asian_width(c) in "WF" else c for c in label)
    font = FontProperties(size=FONT, weight="bold")
    width, _, _ = text_to_path.get_text_width_height_descent(known, font, ismath=False)
    return float(width) + 4
