import math
import random
from xml.etree import ElementTree

import pytest

from idgen.report.scatter import (
    HEIGHT,
    WIDTH,
    Box,
    ScatterPoint,
    draw_scatter,
    pareto_front,
    place_labels,
)

SVG = "{http://www.w3.org/2000/svg}"


def parsed(svg: str) -> ElementTree.Element:
    # In a page the name space is implied.
    return ElementTree.fromstring(
        svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    )


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
    assert [c.attrib["fill"] for c in alone.findall(f".//{SVG}circle")] == ["#ffffff"]
    assert not alone.findall(f".//{SVG}polyline")


def test_equal_points_are_both_on_the_front() -> None:
    points = [ScatterPoint("a", 0.5, 0.5), ScatterPoint("b", 0.5, 0.5), ScatterPoint("c", 0.5, 0.4)]
    assert [p.name for p in pareto_front(points)] == ["a", "b"]


@pytest.mark.parametrize("seed", range(6))
def test_labels_cover_neither_each_other_nor_points(seed: int) -> None:
    generator = random.Random(seed)
    frame = Box(64, 16, 672, 392)
    # Crowded, as methods are: all within a tenth of the frame.
    spots = [(300 + 70 * generator.random(), 200 + 40 * generator.random()) for _ in range(12)]
    names = ["a method with a long name", *(f"method {k}" for k in range(11))]
    boxes = place_labels(spots, names, frame)
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:index])
        assert frame.left <= box.left
        assert box.left + box.width <= frame.left + frame.width + 1e-6
        assert frame.top <= box.top
        assert box.top + box.height <= frame.top + frame.height + 1e-6
        assert not any(
            box.left < x < box.left + box.width and box.top < y < box.top + box.height
            for x, y in spots
        )


def test_the_drawing_holds_every_point_where_it_belongs() -> None:
    points = [
        ScatterPoint("a <b>", 0.2, 0.9, (0.15, 0.25), (0.85, 0.95)),
        ScatterPoint("c & d", 0.6, 0.4),
    ]
    svg = parsed(draw_scatter(points, "CLIP-T", "DINO"))
    circles = svg.findall(f".//{SVG}circle")
    assert len(circles) == 2
    x = [float(circle.attrib["cx"]) for circle in circles]
    y = [float(circle.attrib["cy"]) for circle in circles]
    assert x[0] < x[1]
    assert y[0] < y[1]  # down is more
    assert all(0 < value < WIDTH for value in x)
    assert all(0 < value < HEIGHT for value in y)
    words = [element.text for element in svg.findall(f".//{SVG}text")]
    assert {"a <b>", "c & d", "CLIP-T", "DINO"} <= set(words)


def test_ticks_are_where_their_numbers_say() -> None:
    points = [ScatterPoint("a", 0.0, 0.0), ScatterPoint("b", 1.0, 1.0)]
    svg = parsed(draw_scatter(points, "x", "y"))
    ends = [float(c.attrib["cx"]) for c in svg.findall(f".//{SVG}circle")]
    ticks = {
        element.text: float(element.attrib["x"])
        for element in svg.findall(f".//{SVG}text")
        if element.attrib.get("text-anchor") == "middle"
        and "font-weight" not in element.attrib
        and "x" in element.attrib
    }
    ticks.pop("x")
    for label, place in ticks.items():
        assert label is not None
        assert place == pytest.approx(ends[0] + float(label) * (ends[1] - ends[0]), abs=0.2)


def test_one_point_alone_can_be_drawn() -> None:
    assert "<circle" in draw_scatter([ScatterPoint("a", 0.5, 0.5)], "x", "y")


@pytest.mark.parametrize("points", [[], [ScatterPoint("a", math.nan, 0.5)]])
def test_what_cannot_be_drawn_is_refused(points: list[ScatterPoint]) -> None:
    with pytest.raises(ValueError, match="finite"):
        draw_scatter(points, "x", "y")
