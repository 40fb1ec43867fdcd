"""Mending masks on the contact sheet, in a real browser without a server."""

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from idgen.prepare import find_photos
from idgen.prepare.captioners.caption_files import SheetCaption
from idgen.prepare.segmenters.prompts import PROMPTS, Prompts, check_prompts, prompts_of
from idgen.prepare.sheet.page import SheetRow, draw_contact_page
from tests.prepare.pictures import picture, red

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
NAMES = ["00.jpg", 'it\'s \u540d "x".png', "02.png"]
# What a hand does; a browser without a screen takes no pointer capture for made-up events.
HAND = """<script>
HTMLElement.prototype.setPointerCapture = () => {};
const areas = [...document.querySelectorAll(".mend")];
const send = (area, kind, x, y, button) => {
  const frame = area.querySelector("img").getBoundingClientRect();
  const clientX = frame.left + x * frame.width, clientY = frame.top + y * frame.height;
  const event = {bubbles: true, pointerId: 1, clientX, clientY, button};
  area.dispatchEvent(new PointerEvent(kind, event));
};
const click = (at, x, y, button = 0) => {
  send(areas[at], "pointerdown", x, y, button);
  send(areas[at], "pointerup", x, y, button);
};
const press = (at, what) => areas[at].closest("section").querySelector(what).click();
click(0, .5, .25);
click(0, .1, .9, 2);
click(0, .9, .9);
press(0, '[data-do="undo"]');
press(0, '[data-mode="off"]');
click(0, .2, .5);
send(areas[1], "pointerdown", .75, .75, 0);
send(areas[1], "pointermove", .5, .5, 0);
send(areas[1], "pointerup", .25, .25, 0);
</script>"""


@pytest.mark.skipif(not BROWSER, reason="no Chromium here")
def test_points_and_boxes_become_prompts(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    rows = []
    for number, name in enumerate(NAMES):
        image = picture(number, 300, 400)
        Image.fromarray(image).save(folder / name)
        said = Prompts(points=((7, 9),)) if name == "02.png" else None
        caption = SheetCaption("", "", f"{name}.txt")
        rows.append(SheetRow(name, image, red(image), image, [], caption, "GrabCut", said))
    page = draw_contact_page(rows, "key").decode()
    assert page.count("</body>") == 1
    (tmp_path / "page.html").write_text(page.replace("</body>", f"{HAND}</body>"), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    shown = subprocess.run(
        [BROWSER, *options, profile, (tmp_path / "page.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    lines = re.search(r'<pre id="lines">(.*?)</pre>', shown, re.DOTALL)
    assert lines is not None
    (folder / PROMPTS).write_text(html.unescape(lines[1]), encoding="utf-8")
    photos = find_photos(folder)
    check_prompts(photos)
    given = {photo.name: prompts_of(photo) for photo in photos}
    assert given == {
        NAMES[0]: Prompts(points=((200, 75),), background_points=((40, 270), (80, 150))),
        NAMES[1]: Prompts(box=(100, 75, 300, 225)),
        NAMES[2]: Prompts(points=((7, 9),)),
    }
    pictures = re.sub(r"<script>.*?</script>", "", shown, flags=re.DOTALL)
    drawn = re.findall(r'<circle class="(?:on|off)"|<rect class="box"', pictures)
    assert len(drawn) == 5
