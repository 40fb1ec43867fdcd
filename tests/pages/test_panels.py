"""Small scatters side by side."""

import re
import xml.etree.ElementTree as ET

import pytest

from idgen.pages.panels import Panel, draw_panels
from idgen.pages.scatter import ScatterPoint
from idgen.pages.svg import standalone

POINTS = [
    ScatterPoint("ours", 0.90, 0.5, (0.89, 0.91), (0.4, 0.6)),
    ScatterPoint("a & b", 0.93, 0.2),
]


def drawn(*titles: str, **more: bool) -> str:
    return draw_panels([Panel(title, POINTS) for title in titles], "leakage", "identity", **more)


def test_it_names_every_group_once_and_every_method_in_the_legend() -> None:
    svg = standalone(drawn("scenes=1&masks=wide", "plain", "third", "fourth"))
    words = [text for text in ET.fromstring(svg).itertext() if text.strip()]
    for word in ("scenes=1&masks=wide", "plain", "third", "fourth", "ours", "a & b"):
        assert words.count(word) == 1
    assert {"leakage", "identity"} <= set(words)


def test_it_is_the_same_each_time_and_takes_nothing_from_outside() -> None:
    assert drawn("plain") == drawn("plain")
    assert not re.search(r"https?://|@import|url\((?!#)", drawn("plain"))


def test_less_may_be_to_the_right() -> None:
    def places(svg: str) -> list[float]:
        """Where the horizontal axis has its numbers, from the least on."""
        found = re.findall(r'text-anchor: middle;[^>]* x="([\d.]+)"[^>]*>(0\.\d+)<', svg)
        return [float(x) for x, _ in sorted(found, key=lambda tick: float(tick[1]))]

    more, less = places(drawn("plain")), places(drawn("plain", less_is_better=True))
    assert len(more) >= 2
    assert more == sorted(more)
    assert less == sorted(less, reverse=True)


def test_points_are_needed() -> None:
    with pytest.raises(ValueError, match="at least one point"):
        draw_panels([], "leakage", "identity")
    with pytest.raises(ValueError, match="finite"):
        draw_panels([Panel("plain", [ScatterPoint("ours", float("nan"), 0.1)])], "x", "y")
