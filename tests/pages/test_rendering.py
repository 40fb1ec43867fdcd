from pathlib import Path

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup
from PIL import Image

from idgen.pages import rendering
from idgen.pages.rendering import picture, render_page
from tests.benchmark.test_report import Page


def test_text_is_escaped_and_unprintable_letters_are_replaced() -> None:
    page = render_page("base.html", title='<b>\x07 & \u202e"', lead=Markup("<em>as it is</em>"))
    assert page.count("&lt;b&gt;\ufffd &amp; \ufffd&#34;".encode()) == 2
    assert b"<em>as it is</em>" in page


def test_what_is_not_given_is_refused() -> None:
    with pytest.raises(UndefinedError, match="lead"):
        render_page("base.html", title="a")


def test_a_picture_is_reduced_and_its_caption_is_an_attribute() -> None:
    element = picture(Image.new("RGBA", (300, 150)), 100, '"><script>\n')
    page = Page(element)
    assert page.tags == ["img"]
    assert page.sources[0].startswith("data:image/jpeg;base64,")
    assert 'width="100" height="50"' in element
    assert "\ufffd" in element


def test_templates_take_nothing_from_outside() -> None:
    for path in (Path(rendering.__file__).parent / "templates").iterdir():
        text = path.read_text()
        assert not any(
            word in text for word in ("<script src", "http:", "https:", "//", "@import")
        ), path
        assert "| safe" not in text, path
