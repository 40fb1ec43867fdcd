"""One picture to look all masks and backgrounds over by."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from idgen.masks import Mask

SHEET_VERSION = 2
"""Part of the sheet's key: raise it when the drawing changes."""

_CELL = 300
_GAP = 12
_MARGIN = 24
_HEADER = 40
_CAPTION = 30
_COLUMNS = ("photo", "mask", "background")
_PAPER, _INK, _FAINT = (250, 250, 248), (34, 34, 34), (120, 120, 118)
_ALARM = (196, 48, 28)
_OUTLINE = (255, 64, 160)


@dataclass(frozen=True)
class SheetRow:
    """What the sheet shows of one photo.

    Attributes:
        name: The photo's name.
        photo: `H W 3`.
        mask: `H W`.
        background: `H W 3`.
        warnings: What looks wrong.
    """

    name: str
    photo: NDArray[np.uint8]
    mask: Mask
    background: NDArray[np.uint8]
    warnings: list[str]


def draw_contact_sheet(rows: Iterable[SheetRow]) -> NDArray[np.uint8]:
    """Draws a row a photo: the photo, the mask outlined in it, its background, a caption.

    Args:
        rows: One a photo; they are drawn one after the other, so a generator saves memory.

    Returns:
        `H W 3`.
    """
    width = 2 * _MARGIN + len(_COLUMNS) * _CELL + (len(_COLUMNS) - 1) * _GAP
    strips = [_header(width), *(_strip(row, width) for row in rows)]
    bottom = np.full((_MARGIN // 2, width, 3), _PAPER, dtype=np.uint8)
    return np.concatenate([*strips, bottom])


def _header(width: int) -> NDArray[np.uint8]:
    image = Image.new("RGB", (width, _HEADER), _PAPER)
    draw = ImageDraw.Draw(image)
    for column, title in enumerate(_COLUMNS):
        left = _MARGIN + column * (_CELL + _GAP)
        draw.text((left, _HEADER - 10), title, _FAINT, ImageFont.load_default(15), anchor="ls")
    return np.array(image)


def _strip(row: SheetRow, width: int) -> NDArray[np.uint8]:
    cells = [thumbnail(row.photo), outlined(row.photo, row.mask), thumbnail(row.background)]
    height = cells[0].height
    image = Image.new("RGB", (width, height + _CAPTION + _GAP), _PAPER)
    for column, cell in enumerate(cells):
        image.paste(cell, (_MARGIN + column * (_CELL + _GAP) + (_CELL - cell.width) // 2, 0))
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(15)
    baseline = height + 21
    share = f"{100 * row.mask.mean():.0f} %"
    name = _fitted(row.name, font, _CELL)
    draw.text((_MARGIN, baseline), name, _INK, font, anchor="ls")
    left = _MARGIN + _CELL + _GAP
    if row.warnings:
        text = _fitted("look at it: " + "; ".join(row.warnings), font, width - left)
        draw.text((left, baseline), text, _ALARM, font, anchor="ls")
        edge = (_MARGIN - 12, 0, _MARGIN - 7, height + _CAPTION - 4)
        draw.rectangle(edge, fill=_ALARM)
    else:
        draw.text((left, baseline), share, _FAINT, font, anchor="ls")
    return np.array(image)


def thumbnail(image: NDArray[np.uint8], side: int = _CELL) -> Image.Image:
    """The picture, its longer side as long as asked; small ones are enlarged without blurring.

    Args:
        image: `H W 3`.
        side: Pixels.
    """
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    method = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    return Image.fromarray(image).resize(size, method)


def outlined(photo: NDArray[np.uint8], mask: Mask, side: int = _CELL) -> Image.Image:
    """The photo with what is not the subject dimmed, and a line around the subject.

    Args:
        photo: `H W 3`.
        mask: `H W`.
        side: Pixels of the longer side.
    """
    import cv2

    picture = np.array(thumbnail(photo, side)).astype(np.float32)
    size = (picture.shape[1], picture.shape[0])
    share = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
    small = (np.asarray(share) >= 128).astype(np.uint8)
    grey = picture.mean(axis=2, keepdims=True)
    dimmed = 0.35 * picture + 0.25 * grey + 0.4 * 255
    picture = np.where(small[..., None] > 0, picture, dimmed)
    rim = cv2.dilate(small, np.ones((5, 5), np.uint8)) > small
    picture[rim] = _OUTLINE
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


def _fitted(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int) -> str:
    """The text on one line, shortened in its middle until it fits."""
    text = "".join(c if c.isprintable() else "\ufffd" for c in text)
    if font.getlength(text) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        shorter = f"{text[: (kept + 1) // 2]}\u2026{text[len(text) - kept // 2 :]}"
        if font.getlength(shorter) <= width:
            return shorter
    return "\u2026"
