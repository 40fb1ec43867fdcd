import math
import random
import re
from itertools import combinations
from xml.etree import ElementTree

import pytest

from idgen.pages.scatter import (
    HEIGHT,
    WIDTH,
    Box,
    ScatterPoint,
    draw_scatter,
    pareto_front,
    place_labels,
)

SVG = "{http://www.w3.org/2000/svg}"
SPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


def parsed(svg: str) -> ElementTree.Element:
    # In a page the name spaces are implied.
    return ElementTree.fromstring(svg.replace("<svg ", f"<svg {SPACES} ", 1))


def part(svg: ElementTree.Element, name: str) -> ElementTree.Element:
    found = svg.find(f".//{SVG}g[@id='{name}']")
    assert found is not None, name
    return found


def texts(svg: ElementTree.Element) -> dict[str, ElementTree.Element]:
    return {element.text or "": element for element in svg.iter(f"{SVG}text")}


def mark(svg: ElementTree.Element, index: int) -> tuple[float, float, str]:
    """Where a point is, and its style."""
    [use] = part(svg, f"point-{index}").iter(f"{SVG}use")
    return float(use.attrib["x"]), float(use.attrib["y"]), use.attrib["style"]


def line(svg: ElementTree.Element, name: str) -> list[tuple[float, float]]:
    [path] = part(svg, name).iter(f"{SVG}path")
    numbers = [float(number) for number in re.findall(r"-?[\d.]+", path.attrib["d"])]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def test_the_front_is_what_nothing_surpasses() -> None:
    generator = random.Random(0)
    points = [ScatterPoint(str(k), generator.random(), generator.random()) for k in range(60)]
    front = pareto_front(points)
    for point in points:
        better = [o for o in points if o.x > point.x and o.y > point.y]
        assert (point in front) == (not better)
    assert [p.x for p in front] == sorted(p.x for p in front)
    assert [p.y for p in front] == sorted((p.y for p in front), reverse=True)


def test_a_point_that_is_not_comparable_neither_surpasses_nor_is_on_the_front() -> None:
    points = [ScatterPoint("a", 0.5, 0.5), ScatterPoint("b", 0.9, 0.9, comparable=False)]
    assert [p.name for p in pareto_front(points)] == ["a"]
    alone = parsed(draw_scatter(points[1:], "x", "y"))
    assert "fill: #ffffff" in mark(alone, 0)[2]
    assert alone.find(f".//{SVG}g[@id='front']") is None


def test_equal_points_are_both_on_the_front() -> None:
    points = [ScatterPoint("a", 0.5, 0.5), ScatterPoint("b", 0.5, 0.5), ScatterPoint("c", 0.5, 0.4)]
    assert [p.name for p in pareto_front(points)] == ["a", "b"]


@pytest.mark.parametrize("seed", range(6))
def test_labels_cover_neither_each_other_nor_points(seed: int) -> None:
    generator = random.Random(seed)
    frame = Box(64, 16, 672, 392)
    # Crowded, as methods are: all within a tenth of the frame.
    spots = [(300 + 70 * generator.random(), 200 + 40 * generator.random()) for _ in range(12)]
    bars = [Box(x - 100, y - 1, 200, 2) for x, y in spots]
    boxes = place_labels(spots, [200, *[70] * 11], frame, bars)
    for index, box in enumerate(boxes):
        assert not any(box.shared(other) for other in boxes[:index])
        assert frame.left <= box.left
        assert box.left + box.width <= frame.left + frame.width + 1e-6
        assert frame.bottom <= box.bottom
        assert box.bottom + box.height <= frame.bottom + frame.height + 1e-6
        assert not any(
            box.left < x < box.left + box.width and box.bottom < y < box.bottom + box.height
            for x, y in spots
        )


def test_a_label_makes_way_for_a_bar() -> None:
    frame = Box(0, 0, 400, 400)
    bar = Box(100, 199, 200, 2)
    [on_it] = place_labels([(200, 200)], [60], frame)
    [beside] = place_labels([(200, 200)], [60], frame, [bar])
    assert on_it.shared(bar) > 0
    assert beside.shared(bar) == 0


@pytest.mark.parametrize(
    ("other", "area"), [((1, 1, 4, 1), 1), ((2, 0, 1, 2), 0), ((3, 3, 1, 1), 0)]
)
def test_the_area_that_boxes_share(other: tuple[float, float, float, float], area: float) -> None:
    assert Box(0, 0, 2, 2).shared(Box(*other)) == Box(*other).shared(Box(0, 0, 2, 2)) == area


def test_the_drawing_holds_every_point_where_it_belongs() -> None:
    points = [
        ScatterPoint("a <b>", 0.2, 0.9, (0.15, 0.25), (0.85, 0.95)),
        ScatterPoint("c & d", 0.6, 0.4),
        ScatterPoint("low", 0.3, 0.3),
    ]
    svg = parsed(draw_scatter(points, "CLIP-T", "DINO"))
    (x1, y1, on_front), (x2, y2, _), (_, _, surpassed) = (mark(svg, k) for k in range(3))
    assert 0 < x1 < x2 < WIDTH
    assert 0 < y1 < y2 < HEIGHT  # down is more
    assert ("fill: #ffffff" in on_front, "fill: #ffffff" in surpassed) == (False, True)
    assert {"a <b>", "c & d", "CLIP-T", "DINO"} <= set(texts(svg))
    (left, y_left), (right, y_right) = line(svg, "across-0")
    assert (left + right) / 2 == pytest.approx(x1)
    assert y_left == y_right == pytest.approx(y1)
    assert right - left == pytest.approx((x2 - x1) / 4)
    (x_low, low), (x_high, high) = line(svg, "up-0")
    assert (low + high) / 2 == pytest.approx(y1)
    assert x_low == x_high == pytest.approx(x1)
    assert svg.find(f".//{SVG}g[@id='up-1']") is None


def test_the_front_is_drawn_as_dashed_stairs() -> None:
    points = [ScatterPoint("a", 0.2, 0.9), ScatterPoint("b", 0.6, 0.4), ScatterPoint("c", 0.1, 0.1)]
    svg = parsed(draw_scatter(points, "x", "y"))
    (x1, y1, _), (x2, y2, _) = mark(svg, 0), mark(svg, 1)
    start, *corners, end = dict.fromkeys(line(svg, "front"))
    for corner, place in zip(corners, [(x1, y1), (x1, y2), (x2, y2)], strict=True):
        assert corner == pytest.approx(place, abs=1e-3)
    assert start[0] < mark(svg, 2)[0]
    assert end[1] > mark(svg, 2)[1]
    [path] = part(svg, "front").iter(f"{SVG}path")
    assert "stroke-dasharray" in path.attrib["style"]


def test_ticks_are_where_their_numbers_say() -> None:
    points = [ScatterPoint("a", 0.0, 0.0), ScatterPoint("b", 1.0, 1.0)]
    svg = parsed(draw_scatter(points, "x", "y"))
    start, end = mark(svg, 0)[0], mark(svg, 1)[0]
    ticks = {
        label: float(element.attrib["x"])
        for label, element in texts(part(svg, "matplotlib.axis_1")).items()
        if label != "x"
    }
    assert len(ticks) > 3
    for label, place in ticks.items():
        assert place == pytest.approx(start + float(label) * (end - start), abs=0.2)


def test_names_are_text_and_nothing_else() -> None:
    names = ["$x^2$", 'a "quote" <script>', "bell\x07", "two\nlines", "中文方法", "long " * 30]
    points = [ScatterPoint(name, 0.1 * k, 0.1) for k, name in enumerate(names)]
    svg = draw_scatter(points, "$x", 'y" onload="z')
    shown = texts(parsed(svg))
    assert {"$x^2$", 'a "quote" <script>', "bell\ufffd", "two\ufffdlines", "中文方法"} <= set(shown)
    assert {"$x", 'y" onload="z'} <= set(shown)
    assert any(label.startswith("long long") and label.endswith("…") for label in shown)
    assert parsed(svg).attrib["aria-label"] == 'y" onload="z against $x'


@pytest.mark.parametrize("number", [2, 12])
def test_no_label_is_cut_off_or_over_another_one(number: int) -> None:
    """By the white boxes that the labels stand on, which are as wide as matplotlib's letters."""
    points = [ScatterPoint(f"method number {k}", 0.5 + 0.001 * k, 0.5) for k in range(number)]
    svg = parsed(draw_scatter(points, "x", "y"))
    boxes = []
    for index in range(number):
        path = next(part(svg, f"label-{index}").iter(f"{SVG}path"), None)
        assert path is not None
        numbers = [float(n) for n in re.findall(r"-?[\d.]+", path.attrib["d"])]
        x, y = numbers[::2], numbers[1::2]
        assert min(x) > 0
        assert max(x) < WIDTH
        assert min(y) > 0
        assert max(y) < HEIGHT
        boxes.append(Box(min(x), min(y), max(x) - min(x), max(y) - min(y)))
    assert not any(a.shared(b) for a, b in combinations(boxes, 2))


def test_the_same_points_make_the_same_drawing_whatever_is_set_elsewhere() -> None:
    import matplotlib

    points = [ScatterPoint("a", 0.5, 0.5), ScatterPoint("b", 0.6, 0.4)]
    first = draw_scatter(points, "x", "y")
    with matplotlib.rc_context({"font.size": 40, "svg.fonttype": "path", "axes.grid": False}):
        assert draw_scatter(points, "x", "y") == first
        assert matplotlib.rcParams["font.size"] == 40
    assert not re.search(r"https?:|<!DOCTYPE|<metadata", first)
    assert set(re.findall(r'href="(.)', first)) == {"#"}


def test_one_point_alone_can_be_drawn() -> None:
    assert mark(parsed(draw_scatter([ScatterPoint("a", 0.5, 0.5)], "x", "y")), 0)


@pytest.mark.parametrize("points", [[], [ScatterPoint("a", math.nan, 0.5)]])
def test_what_cannot_be_drawn_is_refused(points: list[ScatterPoint]) -> None:
    with pytest.raises(ValueError, match="finite"):
        draw_scatter(points, "x", "y")
