"""The contact sheet as a page: one file that a browser opens without a server or a network."""

import base64
import html
import io
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from idgen.prepare.sheet.picture import SheetRow, outlined, thumbnail

PAGE_VERSION = 2
"""Part of the page's key: raise it when the page changes."""

_SIDE = 480
_QUALITY = 82
_KEY = '<meta name="idgen-key" content="'
_HEAD_BYTES = 512
_STYLE = """
:root { color-scheme: light dark; --paper: #fafaf8; --ink: #222; --faint: #6d6d6a;
  --line: #dcdcd6; --alarm: #b3261e; --wash: #fdecea; }
@media (prefers-color-scheme: dark) { :root { --paper: #161615; --ink: #e8e8e4;
  --faint: #9b9b96; --line: #3a3a37; --alarm: #ff8a80; --wash: #3a1d1b; } }
body { margin: 0 auto; padding: 1.5rem; max-width: 80rem; background: var(--paper);
  color: var(--ink); font: 16px/1.45 system-ui, sans-serif; }
h1 { margin: 0 0 .25rem; font-size: 1.4rem; overflow-wrap: anywhere; }
p { margin: .25rem 0; color: var(--faint); }
a { color: inherit; }
section { padding: 1rem 0 1rem .75rem; border-top: 1px solid var(--line);
  border-left: 4px solid transparent; }
section.look { border-left-color: var(--alarm); }
h2 { margin: 0 0 .5rem; font-size: 1rem; overflow-wrap: anywhere; }
h2 small { color: var(--faint); font-weight: normal; }
ul { margin: .25rem 0 .75rem; padding: .5rem 1rem .5rem 2rem; background: var(--wash);
  color: var(--alarm); border-radius: .4rem; }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(14rem, 1fr)); gap: .75rem; }
figure { margin: 0; }
img { display: block; width: 100%; height: auto; border-radius: .25rem; }
figcaption { color: var(--faint); font-size: .85rem; }
"""


def draw_contact_page(rows: Iterable[SheetRow], key: str) -> bytes:
    """Writes a section a photo: the photo, the mask outlined in it, its background, warnings.

    Args:
        rows: One a photo; they are drawn one after the other, so a generator saves memory.
        key: What the page is made under; `page_key` reads it back.

    Returns:
        The page, UTF-8, images and all.
    """
    sections, flagged = [], []
    for number, row in enumerate(rows):
        sections.append(_section(number, row))
        if row.warnings:
            flagged.append(f'<a href="#photo{number}">{_text(row.name)}</a>')
    asked = f"Look at {', '.join(flagged)}." if flagged else "Nothing looks wrong."
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
{_KEY}{html.escape(key)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Contact sheet</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Contact sheet</h1>
<p>{len(sections)} photos. {asked} Where a mask is wrong, say where the subject is in prompts.yaml
beside the photos, or give a mask of your own.</p>
{"".join(sections)}</body>
</html>
"""
    return page.encode()


def page_key(path: Path) -> str | None:
    """The key that a page was made under; None if it carries none. Reads its head only."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES).decode(errors="replace")
    except OSError:
        return None
    _, found, rest = head.partition(_KEY)
    return rest.partition('"')[0] if found else None


def _section(number: int, row: SheetRow) -> str:
    pictures = {
        "photo": thumbnail(row.photo, _SIDE),
        "subject": outlined(row.photo, row.mask, _SIDE),
        "background": thumbnail(row.background, _SIDE),
    }
    figures = "".join(
        f'<figure><img src="{_data(image)}" width="{image.width}" height="{image.height}" '
        f'alt="{what}"><figcaption>{what}</figcaption></figure>\n'
        for what, image in pictures.items()
    )
    warned = "".join(f"<li>{_text(warning)}</li>" for warning in row.warnings)
    return (
        f'<section id="photo{number}"{" class=look" if warned else ""}>\n'
        f"<h2>{_text(row.name)} <small>{100 * row.mask.mean():.0f} % subject</small></h2>\n"
        f"{f'<ul>{warned}</ul>' if warned else ''}\n"
        f'<div class="row">\n{figures}</div>\n</section>\n'
    )


def _data(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _text(text: str) -> str:
    return html.escape("".join(c if c.isprintable() else "\ufffd" for c in text))
