"""Parallel coordinates: an axis a parameter or score, a line a trial, the best ones on top."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from idgen.errors import printable
from idgen.pages.svg import COLOURS, INK, figure_as_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ACROSS, _HEIGHT, _SIDE = 150, 320, 70
_LONGEST = 22
_MOST_TICKS = 7


@dataclass(frozen=True)
class Line:
    """A trial.

    Attributes:
        name: What it is called.
        values: One an axis: numbers, or other values as choices.
    """

    name: str
    values: Sequence[Any]


def draw_parallel(
    axes: Sequence[str], logs: Sequence[bool], lines: Sequence[Line], goodness: Sequence[float]
) -> str:
    """Draws the lines over axes side by side.

    Args:
        axes: Names.
        logs: Whether an axis has a logarithmic scale; of numbers above 0.
        lines: At least one.
        goodness: Of each line: the better, the darker.

    Returns:
        An SVG element: the same for the same lines, with text as text, and nothing from outside.

    Raises:
        ValueError: If there is no line.
    """
    if not lines:
        raise ValueError("parallel: at least one line is needed")
    scales = [_Scale.of([line.values[at] for line in lines], log) for at, log in enumerate(logs)]
    width = 2 * _SIDE + _ACROSS * max(1, len(axes) - 1)
    with figure_as_svg(width, _HEIGHT, f"{len(lines)} trials over {', '.join(axes)}") as (
        figure,
        element,
    ):
        place = (_SIDE / width, 0.06, 1 - 2 * _SIDE / width, 0.78)
        whole = figure.add_axes(place, xlim=(0, max(1, len(axes) - 1)), ylim=(-0.03, 1.03))
        whole.set_axis_off()
        for at, (name, scale) in enumerate(zip(axes, scales, strict=True)):
            _draw_axis(whole, at, name, scale)
        low, high = min(goodness), max(goodness)
        # The worst first, so that the best lie on top of them.
        for number in sorted(range(len(lines)), key=lambda at: goodness[at]):
            share = 1.0 if high == low else (goodness[number] - low) / (high - low)
            heights = [s.height(v) for s, v in zip(scales, lines[number].values, strict=True)]
            style: dict[str, Any] = {
                "color": COLOURS[0],
                "alpha": 0.3 + 0.7 * share**2,
                "linewidth": 1 + 1.6 * share**2,
                "solid_capstyle": "round",
            }
            whole.plot(range(len(axes)), heights, **style)
        return element()


@dataclass(frozen=True)
class _Scale:
    """Where values lie on an axis, from 0 to 1.

    Attributes:
        choices: Values that are no numbers, in their order; None of an axis of numbers.
        low: The least number.
        high: The largest.
        log: Whether it is logarithmic.
    """

    choices: Sequence[str] | None
    low: float
    high: float
    log: bool

    @classmethod
    def of(cls, values: Sequence[Any], log: bool) -> "_Scale":
        if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
            log = log and min(values) > 0
            return cls(None, min(values), max(values), log)
        return cls(sorted({str(value) for value in values}), 0, 1, False)

    def height(self, value: Any) -> float:
        if self.choices is not None:
            return self.choices.index(str(value)) / max(1, len(self.choices) - 1)
        if self.low == self.high:
            return 0.5
        low, high, at = (
            map(math.log, (self.low, self.high, value))
            if self.log
            else (self.low, self.high, float(value))
        )
        return float((at - low) / (high - low))

    def ticks(self) -> list[tuple[float, str]]:
        if self.choices is not None:
            shown = self.choices[:_MOST_TICKS]
            return [(self.height(choice), _shortened(choice)) for choice in shown]
        if self.low == self.high:
            return [(0.5, f"{self.low:.4g}")]
        middle = math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2
        return [(self.height(v), f"{v:.3g}") for v in (self.low, middle, self.high)]


def _draw_axis(whole: "Axes", at: int, name: str, scale: _Scale) -> None:
    ink: dict[str, Any] = {"color": INK, "parse_math": False}
    whole.plot([at, at], [0, 1], color="#b9b9c0", linewidth=1)
    under: dict[str, Any] = {"facecolor": "#ffffff", "edgecolor": "none", "alpha": 0.85, "pad": 1.5}
    for height, text in scale.ticks():
        style = {**ink, "bbox": under, "zorder": 5}
        whole.text(at + 0.03, height, printable(text), fontsize=10, va="center", **style)
    # Of a long key the end says most.
    text = name if len(name) <= _LONGEST else f"…{name[-_LONGEST + 1 :]}"
    whole.text(at, 1.09 + 0.08 * (at % 2), printable(text), fontsize=11, ha="center", **ink)


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
