"""The contact sheet: one page that a browser opens without a server or a network."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from idgen import opencv as cv2
from idgen.masks import Mask, Picture
from idgen.pages.rendering import render_page
from idgen.prepare.captioners.caption_files import SheetCaption
from idgen.prepare.segmenters.prompts import Prompts

PAGE_VERSION = 6
"""Part of the page's key: raise it when the page changes."""

_SIDE = 480
_OUTLINE = (255, 64, 160)
_KEY = re.compile(rb"<!-- idgen-key (\S+) -->")
_TAIL_BYTES = 512


@dataclass(frozen=True)
class SheetRow:
    """What the sheet shows of one photo.

    Attributes:
        name: The photo's name.
        photo: `H W 3`.
        mask: `H W`.
        background: `H W 3`.
        warnings: What looks wrong.
        caption: Its prompt, to be edited.
        source: What its mask was taken from; empty where that is not known.
        prompts: What the user said already of where the subject is.
        size: Height and width that prompts are counted in; None for those of `photo`.
    """

    name: str
    photo: Picture
    mask: Mask
    background: Picture
    warnings: list[str]
    caption: SheetCaption
    source: str = ""
    prompts: Prompts | None = None
    size: tuple[int, int] | None = None


def draw_contact_page(rows: Iterable[SheetRow], key: str) -> bytes:
    """Writes a section a photo: photo, mask outlined in it, background, warnings, caption.

    Args:
        rows: One a photo; they are drawn one after the other, so a generator saves memory.
        key: What the page is made under; `page_key` reads it back.

    Returns:
        The page, UTF-8, images and all.
    """
    photos = [
        {
            "name": row.name,
            "width": (row.size or row.photo.shape)[1],
            "height": (row.size or row.photo.shape)[0],
            "prompts": "" if row.prompts is None else row.prompts.model_dump_json(),
            "share": f"{100 * row.mask.mean():.0f}",
            "warnings": row.warnings,
            "source": row.source,
            "caption": row.caption._asdict(),
            "pictures": {
                "photo": _sized(row.photo),
                "subject": outlined(row.photo, row.mask),
                "background": _sized(row.background),
            },
        }
        for row in rows
    ]
    return render_page("contact_sheet.html", photos=photos, side=_SIDE, key=key)


def page_key(path: Path) -> str | None:
    """The key that a page was made under; None if it carries none. Reads its end only."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            found = _KEY.search(file.read())
    except OSError:
        return None
    return found[1].decode() if found else None


def outlined(photo: Picture, mask: Mask) -> Image.Image:
    """The photo `H W 3` with what is not the subject dimmed, and a line around the subject."""
    picture = np.array(_sized(photo)).astype(np.float32)
    size = (picture.shape[1], picture.shape[0])
    share = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
    small = (np.asarray(share) >= 128).astype(np.uint8)
    grey = picture.mean(axis=2, keepdims=True)
    dimmed = 0.35 * picture + 0.25 * grey + 0.4 * 255
    picture = np.where(small[..., None] > 0, picture, dimmed)
    rim = cv2.dilate(small, np.ones((5, 5), np.uint8)) > small
    picture[rim] = _OUTLINE
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


def _sized(image: Picture) -> Image.Image:
    """A picture at the size it is shown at; small ones are enlarged without blurring."""
    height, width = image.shape[:2]
    scale = _SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    method = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    return Image.fromarray(image).resize(size, method, reducing_gap=3.0)
