"""The picture of the way data takes."""

from pathlib import Path
from xml.etree import ElementTree

import yaml

from tests.docs.blocks import ROOT
from tools.docs.data_flow import PICTURE, SOURCE, drawn

SVG = "{http://www.w3.org/2000/svg}"
FLOW = yaml.safe_load(SOURCE.read_text(encoding="utf-8"))


def test_the_picture_is_that_of_its_source() -> None:
    assert PICTURE.read_text(encoding="utf-8") == drawn(FLOW)


def test_every_box_stands_in_it_apart_from_the_others() -> None:
    root = ElementTree.fromstring(drawn(FLOW))
    names = [text.text for text in root.iter(f"{SVG}text") if text.get("class") == "name"]
    assert sorted(str(name) for name in names) == sorted(FLOW["boxes"])
    frames = [box for box in root.iter(f"{SVG}rect") if box.get("class")]
    corners = [
        [int(str(box.get(side))) for side in ("x", "y", "width", "height")] for box in frames
    ]
    for at, (x, y, width, height) in enumerate(corners):
        for left, top, wide, high in corners[:at]:
            apart = x + width <= left or left + wide <= x or y + height <= top or top + high <= y
            assert apart
    assert len(list(root.iter(f"{SVG}path"))) == len(FLOW["arrows"]) + 1  # and their head


def test_the_code_that_it_names_is_there() -> None:
    named = [box["code"] for box in FLOW["boxes"].values() if "code" in box]
    for path in ", ".join(named).split(", "):
        assert Path(ROOT / path).exists(), path
