import base64
import html.parser
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from idgen.prepare.captioners.caption_files import SheetCaption
from idgen.prepare.sheet.page import SheetRow, draw_contact_page, page_key
from tests.prepare.pictures import picture, red


class Page(html.parser.HTMLParser):
    """What a page shows and what it links to."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(content.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str, attribute: str) -> list[str]:
        found = [attributes.get(attribute) for name, attributes in self.tags if name == tag]
        return [value for value in found if value is not None]


CAPTION = SheetCaption("a photo of a [V] {class_noun} on a rug", "by the captioner", "a.txt")


def row(
    seed: int,
    name: str = "a.png",
    warnings: list[str] | None = None,
    caption: SheetCaption = CAPTION,
) -> SheetRow:
    image = picture(seed, 300, 400)
    background = np.full_like(image, (1, 2, 3))
    return SheetRow(name, image, red(image), background, warnings or [], caption)


def test_photo_subject_and_background_of_each_are_embedded() -> None:
    page = Page(draw_contact_page([row(1), row(2)], "key"))
    sources = page.all("img", "src")
    assert len(sources) == 6
    images = []
    for source in sources:
        kind, _, content = source.partition(";base64,")
        assert kind == "data:image/jpeg"
        with Image.open(io.BytesIO(base64.b64decode(content))) as image:
            assert image.size == (480, 360)
            images.append(np.asarray(image).astype(int))
    assert np.abs(images[2] - (1, 2, 3)).max() < 8
    assert np.abs(images[0] - images[3]).mean() > 5
    assert np.abs(images[0] - images[1]).mean() > 5


def test_nothing_is_fetched_from_elsewhere() -> None:
    content = draw_contact_page([row(1)], "key")
    assert b"http" not in content
    assert Page(content).all("script", "src") == []


def test_captions_are_there_to_be_edited() -> None:
    odd = SheetCaption('</textarea><b>"dog" & co', "from <b>.txt", '"<b>.txt')
    page = Page(draw_contact_page([row(1), row(2, caption=odd)], "key"))
    assert page.all("textarea", "data-file") == ["a.txt", '"<b>.txt']
    assert CAPTION.text in page.text
    assert odd.text in page.text
    assert "caption: from <b>.txt" in page.text
    assert "b" not in {tag for tag, _ in page.tags}


def test_warnings_are_listed_and_linked() -> None:
    rows = [row(1, "a.png"), row(2, "b.png", ["the mask is in 2 pieces", "<odd>"])]
    page = Page(draw_contact_page(rows, "key"))
    assert page.all("a", "href") == ["#photo1"]
    assert page.all("section", "id") == ["photo0", "photo1"]
    assert page.all("section", "class") == ["look"]
    assert "the mask is in 2 pieces" in page.text
    assert "<odd>" in page.text


@pytest.mark.parametrize("name", ["<b>&.png", 'a"b\n.jpg', "\u540d.jpg", "\udcff.jpg", ""])
def test_names_of_every_kind(name: str) -> None:
    page = Page(draw_contact_page([row(1, name, ["odd"])], "key"))
    shown = name.replace("\n", "\ufffd").replace("\udcff", "\ufffd")
    assert page.text.count(shown) >= 2
    assert "b" not in {tag for tag, _ in page.tags}


def test_the_key_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    assert page_key(path) is None
    path.write_text("<html></html>")
    assert page_key(path) is None
    path.write_bytes(draw_contact_page([row(1)], "0123abcd"))
    assert page_key(path) == "0123abcd"


def test_it_is_drawn_the_same_every_time() -> None:
    assert draw_contact_page([row(1)], "key") == draw_contact_page([row(1)], "key")
