"""Pictures for people: grids of drawings with their prompts, and PNG files."""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from idgen.errors import UserError
from idgen.files import atomic_write

_SMALLEST, _LARGEST = 128, 256
_MARGIN, _BLOCK_GAP, _PICTURE_GAP, _TEXT_GAP = 28, 24, 6, 6
_TITLE_SIZE, _PROMPT_SIZE, _NOTE_SIZE = 24, 16, 13
_INK, _GREY, _PAPER = (24, 24, 27), (113, 113, 122), (255, 255, 255)
_LEAST_REDUCTION = 0.7
# The page, and a caption, get this width in pixels even over a single small drawing.
_LEAST_WIDTH, _LEAST_CAPTION = 400, 240
_REFERENCES = "photos of the subject"
# Prompts stand beside each other up to this width in pixels.
_LINE_WIDTH = 1100


@dataclass(frozen=True)
class PromptRow:
    """One row of a grid: a prompt and what was drawn for it.

    Attributes:
        prompt: The caption.
        drawings: n images ``3 H W``, uint8, RGB, or one tensor ``n 3 H W``.
        note: Small print under the caption, such as scores; none if empty.
    """

    prompt: str
    drawings: Sequence[Tensor] | Tensor
    note: str = ""


def captioned_grid(
    rows: Sequence[PromptRow], title: str = "", references: Sequence[Tensor] | Tensor = ()
) -> Image.Image:
    """Lays out drawings, RGB on white, a row a prompt, under a title and a strip of photos.

    Drawings smaller than 128 pixels are enlarged by a whole factor, ones larger than 256 are
    reduced; photos get the drawings' height, or less to fit one line. Prompts with few drawings
    stand beside each other.

    Args:
        rows: Prompts with their drawings; the number of drawings may differ.
        title: Heading; none if empty.
        references: The subject's photos, ``3 H W``, uint8, RGB, of any sizes.

    Raises:
        ValueError: If a row has no drawing, there is no row, or an image is not uint8 ``3 H W``.
    """
    if not rows or not all(len(row.drawings) for row in rows):
        raise ValueError("rows: at least one, with a drawing in each, is needed")
    drawn = [_beside([_picture(image) for image in row.drawings], _PICTURE_GAP) for row in rows]
    width = max(_LEAST_CAPTION, *(row.width for row in drawn))
    blocks = [
        _below([*_caption(row, width), images], _TEXT_GAP)
        for row, images in zip(rows, drawn, strict=True)
    ]
    return _page(title, references, max(row.height for row in drawn), _lines(blocks))


def captioned_table(
    columns: Sequence[str],
    rows: Sequence[PromptRow],
    title: str = "",
    references: Sequence[Tensor] | Tensor = (),
) -> Image.Image:
    """Lays drawings out as a table, a row a prompt and a column a model.

    Args:
        columns: The columns' headings.
        rows: Prompts; the drawings of one are those of the first column, then of the second, and so
            on, as many of each.
        title: Heading; none if empty.
        references: The subject's photos, ``3 H W``, uint8, RGB, of any sizes.

    Raises:
        ValueError: If a row's drawings do not make as many columns, or there is no row.
    """
    if not rows or not columns or any(len(row.drawings) % len(columns) for row in rows):
        raise ValueError("rows: each has to have as many drawings for every column, at least one")
    lines = []
    for row in rows:
        each = len(row.drawings) // len(columns)
        pictures = [_picture(image) for image in row.drawings]
        groups = [
            _beside(pictures[at : at + each], _PICTURE_GAP) for at in range(0, len(pictures), each)
        ]
        lines.append((row, groups))
    width = max(_LEAST_CAPTION // 2, *(group.width for _, groups in lines for group in groups))
    headings = _beside([_text(name, width, _PROMPT_SIZE, _INK) for name in columns], _BLOCK_GAP)
    blocks = [headings]
    for row, groups in lines:
        table = _beside([_widened(group, width) for group in groups], _BLOCK_GAP)
        blocks.append(_below([*_caption(row, table.width), table], _TEXT_GAP))
    tallest = max(group.height for _, groups in lines for group in groups)
    return _page(title, references, tallest, _below(blocks, _BLOCK_GAP))


def _widened(picture: Image.Image, width: int) -> Image.Image:
    sheet = Image.new("RGB", (width, picture.height), _PAPER)
    sheet.paste(picture, (0, 0))
    return sheet


def save_png(
    image: Tensor | Image.Image, path: Path, texts: Mapping[str, str] | None = None
) -> None:
    """Writes a PNG file, whole or not at all; makes the folder if there is none.

    Args:
        image: ``3 H W``, uint8, RGB, or a grid of this module.
        path: The file; an older one is replaced.
        texts: What the file says beside the picture, by key.

    Raises:
        ValueError: If the image is not uint8 ``3 H W``.
        UserError: If it cannot be written there.
    """
    picture = as_image(image) if isinstance(image, Tensor) else image
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        said = PngInfo()
        for key, text in (texts or {}).items():
            said.add_itxt(key, text)
        # The default takes several times as long for files that are hardly smaller.
        picture.save(content, format="PNG", pnginfo=said, compress_level=2)
        atomic_write(path, content.getvalue())
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}); give a folder with space and "
            "the right to write"
        ) from error


def as_image(image: Tensor) -> Image.Image:
    """An image, ``3 H W``, uint8, RGB, as Pillow has it.

    Raises:
        ValueError: If it is something else.
    """
    if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"image: uint8 3 H W is needed, got {image.dtype} {tuple(image.shape)}")
    return Image.fromarray(image.permute(1, 2, 0).contiguous().cpu().numpy())


def _picture(image: Tensor) -> Image.Image:
    picture = as_image(image)
    longer = max(picture.size)
    if longer < _SMALLEST:
        return _resized(picture, math.ceil(_SMALLEST / longer))
    if longer > _LARGEST:
        return _resized(picture, _LARGEST / longer)
    return picture


def _resized(picture: Image.Image, factor: float) -> Image.Image:
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _caption(row: PromptRow, width: int) -> list[Image.Image]:
    caption = [_text(row.prompt, width, _PROMPT_SIZE, _INK)]
    return [*caption, _text(row.note, width, _NOTE_SIZE, _GREY)] if row.note else caption


def _lines(blocks: Sequence[Image.Image]) -> Image.Image:
    width = max(block.width for block in blocks)
    a_line = max(1, (_LINE_WIDTH + _BLOCK_GAP) // (width + _BLOCK_GAP))
    # As even as possible: 6 blocks where 4 would fit become 3 and 3.
    a_line = math.ceil(len(blocks) / math.ceil(len(blocks) / a_line))
    starts = range(0, len(blocks), a_line)
    lines = [_beside(blocks[start : start + a_line], _BLOCK_GAP) for start in starts]
    return _below(lines, _BLOCK_GAP)


def _page(
    title: str, references: Sequence[Tensor] | Tensor, height: int, body: Image.Image
) -> Image.Image:
    width = max(body.width, _LEAST_WIDTH)
    parts = [_text(title, width, _TITLE_SIZE, _INK)] if title else []
    if len(references):
        photos = [as_image(photo) for photo in references]
        strip = _strip([_resized(photo, height / photo.height) for photo in photos], width)
        label = _text(_REFERENCES, width, _NOTE_SIZE, _GREY)
        parts.append(_below([label, strip], _TEXT_GAP))
    content = _below([*parts, body], _BLOCK_GAP)
    page = Image.new("RGB", (content.width + 2 * _MARGIN, content.height + 2 * _MARGIN), _PAPER)
    page.paste(content, (_MARGIN, _MARGIN))
    return page


def _strip(pictures: Sequence[Image.Image], width: int) -> Image.Image:
    # One line if the pictures need not become much smaller for it.
    # The pixel a picture that is taken off makes up for rounding.
    available = width - (_PICTURE_GAP + 1) * len(pictures)
    factor = available / sum(picture.width for picture in pictures)
    if _LEAST_REDUCTION <= factor < 1:
        pictures = [_resized(picture, factor) for picture in pictures]
    lines: list[list[Image.Image]] = [[]]
    for picture in pictures:
        if lines[-1] and _beside([*lines[-1], picture], _PICTURE_GAP).width > width:
            lines.append([])
        lines[-1].append(picture)
    return _below([_beside(line, _PICTURE_GAP) for line in lines], _PICTURE_GAP)


def _beside(pictures: Sequence[Image.Image], gap: int) -> Image.Image:
    width = sum(picture.width for picture in pictures) + gap * (len(pictures) - 1)
    sheet = Image.new("RGB", (width, max(picture.height for picture in pictures)), _PAPER)
    left = 0
    for picture in pictures:
        sheet.paste(picture, (left, 0))
        left += picture.width + gap
    return sheet


def _below(pictures: Sequence[Image.Image], gap: int) -> Image.Image:
    turned = [picture.transpose(Image.Transpose.TRANSPOSE) for picture in pictures]
    return _beside(turned, gap).transpose(Image.Transpose.TRANSPOSE)


def _text(text: str, width: int, size: int, colour: tuple[int, int, int]) -> Image.Image:
    lines = _wrapped(text, width, size)
    line_height = round(size * 1.3)
    sheet = Image.new("RGB", (width, line_height * len(lines)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        draw.text((0, number * line_height), line, fill=colour, font=_font(size))
    return sheet


def _wrapped(text: str, width: int, size: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if _font(size).getlength(longer) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:  # a word may be wider than the line
            if lines[-1] and _font(size).getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
