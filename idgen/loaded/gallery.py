"""Where pictures go: a file each, and a captioned grid of all."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from idgen.loaded.drawing import Picture
from idgen.pictures import PromptRow, captioned_grid, captioned_table, save_png

_ROWS = 30


def write_gallery(
    folder: Path,
    pictures: Mapping[str, Sequence[Picture]],
    photos: Sequence[Tensor] = (),
    recorded: bool = True,
) -> None:
    """Writes pictures below `images/`, and `grid.png`: rows are prompts, columns are models.

    Args:
        folder: Made if there is none.
        pictures: Each model's, by its name, in one order of prompts.
        photos: The subject's, for the grid; `3 H W` uint8.
        recorded: Whether each file says how its picture was drawn.

    Raises:
        UserError: If a file cannot be written.
    """
    for name, drawn in pictures.items():
        for picture in drawn:
            file = picture.request.file
            if len(pictures) > 1:
                file = Path("images") / _file_words(name) / file.name
            texts = picture.record.texts if recorded else None
            save_png(picture.image, folder / file, texts)
    grids = _grids(pictures, folder.name, photos)
    for number, grid in enumerate(grids, start=1):
        save_png(grid, folder / ("grid.png" if len(grids) == 1 else f"grid-{number}.png"))


def _grids(
    pictures: Mapping[str, Sequence[Picture]], title: str, photos: Sequence[Tensor]
) -> list[Image.Image]:
    rows: dict[int, list[Picture]] = {}
    for drawn in pictures.values():
        for picture in drawn:
            rows.setdefault(picture.request.prompt_index, []).append(picture)
    told = [
        PromptRow(row[0].record.prompt, [picture.image for picture in row]) for row in rows.values()
    ]
    parts = [told[start : start + _ROWS] for start in range(0, len(told), _ROWS)]
    if len(pictures) > 1:
        return [captioned_table(list(pictures), part, title, photos) for part in parts]
    heading = f"{next(iter(pictures))}: {title}"
    return [captioned_grid(part, heading, photos) for part in parts]


def _file_words(name: str) -> str:
    return re.sub(r"[^\w.]+", "-", name).strip("-") or "model"
