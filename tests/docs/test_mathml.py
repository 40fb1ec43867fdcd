"""Equations of the documentation as MathML."""

from xml.etree import ElementTree

import pytest

from tests.docs.blocks import Block, blocks
from tools.docs.mathml import display

MATHML = "{http://www.w3.org/1998/Math/MathML}"


@pytest.mark.parametrize("block", [b for b in blocks() if b.language == "math"], ids=str)
def test_each_line_is_an_equation(block: Block) -> None:
    made = ElementTree.fromstring(display(block.text, "math", "math", {}, None))
    assert made.get("class") == "math"
    assert len(made) == len(block.text.splitlines())
    for equation in made:
        assert equation.tag == f"{MATHML}math"
        assert equation.get("display") == "block"
        written = "".join(equation.itertext())
        assert "=" in written
        assert "\\" not in written  # a command that it does not know stays as it is


def test_an_index_is_one() -> None:
    made = ElementTree.fromstring(display("f_i = g", "math", "math", {}, None))
    [index] = made.iter(f"{MATHML}msub")
    assert [part.text for part in index] == ["f", "i"]
