"""Makes docs/images/mending.png: a wrong mask mended on the contact sheet, in a real browser.

``python -m tools.mending`` has GrabCut prepare a drawn subject, opens its contact sheet in a
headless Chromium, draws a box and points on a wrong mask as a hand would, writes the lines that
the page gives to prompts.yaml, prepares again, and lays both sheets side by side.
"""

import argparse
import html
import re
import subprocess
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from idgen.backbones import StableDiffusionBackbone
from idgen.masks import Mask, overlap
from idgen.mini.subjects import sample_subject, write_subject
from idgen.prepare import GrabCutSegmenter, Preparation, PreparedSubject
from idgen.prepare.segmenters.prompts import PROMPTS
from idgen.prepare.store import CONTACT_PAGE

_WIDTH, _HEIGHT = 1000, 910
_POINTS = (0.02, 0.25, 0.5, 0.75, 0.98)
_HAND = """<script>
HTMLElement.prototype.setPointerCapture = () => {};
const section = document.getElementById("photo%(photo)d"), hand = section.querySelector(".mend");
const touch = (kind, x, y, button) => {
  const frame = hand.querySelector("img").getBoundingClientRect();
  const clientX = frame.left + x * frame.width, clientY = frame.top + y * frame.height;
  const event = {bubbles: true, pointerId: 1, clientX, clientY, button};
  hand.dispatchEvent(new PointerEvent(kind, event));
};
const drag = (a, b, c, d) => {
  touch("pointerdown", a, b, 0); touch("pointermove", c, d, 0); touch("pointerup", c, d, 0);
};
%(marks)s
</script>"""
# For the picture alone: the other photos of the sheet are left out.
_ALONE = """<style>section { display: none; } section#photo%d { display: block; }
.prompts { position: static !important; }</style>"""


def browse(browser: str, page: Path, *options: str) -> str:
    """Opens a page in a browser without a screen, and returns what it prints."""
    with tempfile.TemporaryDirectory() as profile:
        fixed = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command = [browser, *fixed, f"--user-data-dir={profile}", *options, page.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def picture(browser: str, page: Path, height: int) -> Image.Image:
    """A page as the browser shows it."""
    shot = page.with_suffix(".png")
    browse(browser, page, f"--window-size={_WIDTH},{height}", f"--screenshot={shot}")
    with Image.open(shot) as image:
        return image.convert("RGB")


def marks(mask: Mask) -> str:
    """What a hand would draw for a subject `H W`: a box around it, points on it."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    height, width = mask.shape
    left, right = (columns[0] - 1) / width, (columns[-1] + 2) / width
    top, bottom = (rows[0] - 1) / height, (rows[-1] + 2) / height
    inside = np.argwhere(cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
    points = (inside[int(share * (len(inside) - 1))] / (height, width) for share in _POINTS)
    touched = (
        f'touch("pointerdown", {x:.3f}, {y:.3f}, 0); touch("pointerup", {x:.3f}, {y:.3f}, 0);'
        for y, x in points
    )
    box = f"drag({left:.3f}, {top:.3f}, {right:.3f}, {bottom:.3f});"
    return "\n".join((box, *touched))


def overlaps(prepared: PreparedSubject, exact: dict[str, Mask]) -> dict[str, float]:
    """IoU of each photo's mask with the exact one."""
    return {p.name: overlap(prepared.mask(p), exact[p.name]) for p in prepared.photos}


def main() -> None:
    """Reads the command line, prepares, mends and saves the picture."""
    parser = argparse.ArgumentParser(description="mend a mask on the contact sheet")
    parser.add_argument("--subject", type=int, default=106, help="number of a held-out subject")
    parser.add_argument("--browser", default="chromium")
    parser.add_argument("--save", type=Path, default=Path("docs/images/mending.png"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    backbone, device = StableDiffusionBackbone("mini"), torch.device("cpu")
    parts = Preparation(GrabCutSegmenter())
    subject = sample_subject(given.subject)
    with tempfile.TemporaryDirectory() as folder:
        photos, output = Path(folder) / "photos", Path(folder) / "out"
        photos.mkdir()
        paths = write_subject(subject, photos)
        drawn = zip(paths, subject.photos(), strict=True)
        exact = {path.name: drawing.mask for path, drawing in drawn}
        before = overlaps(parts.run(photos, output, backbone, device, False), exact)
        worst = min(before, key=lambda name: before[name])
        number = sorted(before).index(worst)
        text = (output / CONTACT_PAGE).read_text(encoding="utf-8")
        hand = _HAND % {"photo": number, "marks": marks(exact[worst])}
        page = Path(folder) / "page.html"
        page.write_text(text.replace("</body>", _ALONE % number + hand + "</body>"))
        found = re.search(r'<pre id="lines">(.*?)</pre>', browse(given.browser, page, "--dump-dom"))
        assert found is not None
        lines = html.unescape(found[1])
        first = picture(given.browser, page, _HEIGHT)
        (photos / PROMPTS).write_text(lines, encoding="utf-8")
        after = overlaps(parts.run(photos, output, backbone, device, False), exact)
        text = (output / CONTACT_PAGE).read_text(encoding="utf-8")
        page.write_text(text.replace("</body>", _ALONE % number + "</body>"))
        second = picture(given.browser, page, _HEIGHT)
    both = Image.new("RGB", (first.width, first.height + second.height), "white")
    both.paste(first, (0, 0))
    both.paste(second, (0, first.height))
    given.save.parent.mkdir(parents=True, exist_ok=True)
    both.save(given.save, optimize=True)
    print(f"{lines}\n{worst}: IoU {before[worst]:.3f} before, {after[worst]:.3f} after")


if __name__ == "__main__":
    main()
