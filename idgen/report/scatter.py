"""Two scores against each other, as SVG: intervals, the Pareto front, labels side by side."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from idgen.report.elements import text

WIDTH, HEIGHT = 760, 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 16, 52
_FONT, _LETTER, _LINE = 13, 7.4, 17
_RADIUS = 5.5
_TICKS = 6
# Distinct for most kinds of colour blindness (Okabe & Ito 2008), darker where they were pale.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b3589a", "#8a6d00", "#3a86c8", "#555555")


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
    """A rectangle in pixels, from its left upper corner."""

    left: float
    top: float
    width: float
    height: float

    def overlaps(self, other: "Box") -> bool:
        """Whether two rectangles share an area."""
        return (
            self.left < other.left + other.width
            and other.left < self.left + self.width
            and self.top < other.top + other.height
            and other.top < self.top + self.height
        )


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
    spots: Sequence[tuple[float, float]], names: Sequence[str], frame: Box
) -> list[Box]:
    """Finds a place near its spot for each label, none on another, or on a spot.

    Places are tried in rings of growing distance; the first free one is taken.

    Args:
        spots: Where the points are, in pixels.
        names: Their labels.
        frame: Where labels may stand.

    Returns:
        The labels' rectangles, in order.
    """
    side = 2 * _RADIUS + 2
    taken = [Box(x - side / 2, y - side / 2, side, side) for x, y in spots]
    placed: list[Box] = []
    for (x, y), name in zip(spots, names, strict=True):
        width = min(len(name) * _LETTER + 4, frame.width)
        box = next(
            (
                candidate
                for candidate in _candidates(x, y, width, frame)
                if not any(candidate.overlaps(other) for other in taken)
            ),
            Box(frame.left, frame.top, width, _LINE),
        )
        placed.append(box)
        taken.append(box)
    return placed


def _candidates(x: float, y: float, width: float, frame: Box) -> Sequence[Box]:
    """Places around a point, nearest first, inside the frame."""
    found = []
    for ring in range(30):
        gap = _RADIUS + 4 + 9 * ring
        around = 8 if ring < 2 else 16
        for step in range(around):
            angle = 2 * math.pi * step / around
            centre_x = x + math.cos(angle) * (gap + width / 2)
            centre_y = y + math.sin(angle) * (gap + _LINE / 2)
            left = min(max(centre_x - width / 2, frame.left), frame.left + frame.width - width)
            top = min(max(centre_y - _LINE / 2, frame.top), frame.top + frame.height - _LINE)
            found.append(Box(left, top, width, _LINE))
    return found


def draw_scatter(points: Sequence[ScatterPoint], x_label: str, y_label: str) -> str:
    """Draws the points.

    Args:
        points: At least one.
        x_label: Name of the horizontal score.
        y_label: Name of the vertical one.

    Returns:
        An SVG element.

    Raises:
        ValueError: If there is no point, or a coordinate is not finite.
    """
    values = [v for p in points for v in (p.x, p.y, *(p.x_interval or ()), *(p.y_interval or ()))]
    if not points or not all(math.isfinite(v) for v in values):
        raise ValueError("points: at least one, with finite scores, is needed")
    across = _Axis.around([v for p in points for v in (p.x, *(p.x_interval or ()))], WIDTH)
    up = _Axis.around([v for p in points for v in (p.y, *(p.y_interval or ()))], HEIGHT)
    frame = Box(_LEFT, _TOP, WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM)
    spots = [(_x(across, p.x), _y(up, p.y)) for p in points]
    boxes = place_labels(spots, [p.name for p in points], frame)
    front = {p.name for p in pareto_front(points)}
    parts = [_axes(across, up, x_label, y_label), _front_line(pareto_front(points), across, up)]
    for index, (point, spot, box) in enumerate(zip(points, spots, boxes, strict=True)):
        colour = _COLOURS[index % len(_COLOURS)]
        parts.append(_point(point, spot, box, colour, across, up, point.name in front))
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{text(y_label)} against {text(x_label)}" '
        f'font-family="system-ui, Arial, sans-serif" font-size="{_FONT}">\n'
        f"{''.join(parts)}</svg>\n"
    )


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    step: float

    @classmethod
    def around(cls, values: Sequence[float], length: int) -> "_Axis":
        """A round range with some air around the values."""
        low, high = min(values), max(values)
        air = max(0.08 * (high - low), 0.005)
        low, high = low - air, high + air
        rough = (high - low) / _TICKS
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
        return cls(low, high, step)

    def ticks(self) -> list[float]:
        first = math.ceil(self.low / self.step)
        return [k * self.step for k in range(first, math.floor(self.high / self.step) + 1)]

    def share(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)


def _x(axis: _Axis, value: float) -> float:
    return _LEFT + axis.share(value) * (WIDTH - _LEFT - _RIGHT)


def _y(axis: _Axis, value: float) -> float:
    return HEIGHT - _BOTTOM - axis.share(value) * (HEIGHT - _TOP - _BOTTOM)


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>\n'


def _axes(across: _Axis, up: _Axis, x_label: str, y_label: str) -> str:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    parts = []
    for axis, tick in [(across, t) for t in across.ticks()] + [(up, t) for t in up.ticks()]:
        digits = max(0, -math.floor(math.log10(axis.step)))
        if axis is across:
            x = _x(across, tick)
            parts.append(_line(x, _TOP, x, bottom, 'stroke="#eeeef1"'))
            parts.append(_words(x, bottom + 20, f"{tick:.{digits}f}", "middle", "#65656b"))
        else:
            y = _y(up, tick)
            parts.append(_line(_LEFT, y, right, y, 'stroke="#eeeef1"'))
            parts.append(_words(_LEFT - 8, y + 4, f"{tick:.{digits}f}", "end", "#65656b"))
    parts.append(_line(_LEFT, bottom, right, bottom, 'stroke="#b9b9c0"'))
    parts.append(_line(_LEFT, _TOP, _LEFT, bottom, 'stroke="#b9b9c0"'))
    parts.append(_words((_LEFT + right) / 2, HEIGHT - 10, x_label, "middle", "#1d1d1f"))
    middle = (_TOP + bottom) / 2
    parts.append(
        f'<text transform="translate(16 {middle:.1f}) rotate(-90)" text-anchor="middle" '
        f'fill="#1d1d1f">{text(y_label)}</text>\n'
    )
    return "".join(parts)


def _front_line(front: Sequence[ScatterPoint], across: _Axis, up: _Axis) -> str:
    """The front as stairs: what lies below them is surpassed; nothing without a front."""
    if not front:
        return ""
    corners: list[tuple[float, float]] = []
    for before, point in zip([None, *front], front, strict=False):
        if before is not None:
            corners.append((_x(across, before.x), _y(up, point.y)))
        corners.append((_x(across, point.x), _y(up, point.y)))
    start, end = (float(_LEFT), corners[0][1]), (corners[-1][0], float(HEIGHT - _BOTTOM))
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in [start, *corners, end])
    style = 'fill="none" stroke="#9a9aa3" stroke-width="1.5" stroke-dasharray="5 4"'
    return f'<polyline class="front" points="{path}" {style}/>\n'


def _point(
    point: ScatterPoint,
    spot: tuple[float, float],
    box: Box,
    colour: str,
    across: _Axis,
    up: _Axis,
    on_front: bool,
) -> str:
    x, y = spot
    thin, parts = f'stroke="{colour}" stroke-width="1.5" opacity="0.45"', []
    if point.x_interval is not None:
        low, high = (_x(across, v) for v in point.x_interval)
        parts.append(_line(low, y, high, y, thin))
    if point.y_interval is not None:
        low, high = (_y(up, v) for v in point.y_interval)
        parts.append(_line(x, low, x, high, thin))
    near_x = min(max(x, box.left), box.left + box.width)
    near_y = min(max(y, box.top), box.top + box.height)
    if math.hypot(near_x - x, near_y - y) > 2.5 * _RADIUS:
        parts.append(_line(x, y, near_x, near_y, f'stroke="{colour}" opacity="0.6"'))
    fill = colour if on_front else "#ffffff"
    parts.append(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{_RADIUS}" fill="{fill}" stroke="{colour}" '
        'stroke-width="2"/>\n'
    )
    parts.append(
        f'<text x="{box.left + box.width / 2:.1f}" y="{box.top + _LINE - 4:.1f}" '
        f'text-anchor="middle" fill="{colour}" font-weight="600" stroke="#ffffff" '
        f'stroke-width="3" paint-order="stroke">{text(point.name)}</text>\n'
    )
    return f"<g>{''.join(parts)}</g>\n"


def _words(x: float, y: float, words: str, anchor: str, colour: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">'
        f"{text(words)}</text>\n"
    )
