"""Photos whose subject is known, and what several tests ask of them."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from idgen.masks import Mask

CPU = torch.device("cpu")


def picture(seed: int, height: int = 40, width: int = 56) -> NDArray[np.uint8]:
    """A red ellipse on a noisy ground of blue and green, `H W 3`."""
    draw = np.random.default_rng(seed)
    ground = np.array([20, *draw.integers(60, 220, 2)])
    pixels = ground + draw.integers(-15, 16, (height, width, 3))
    y, x = np.mgrid[:height, :width]
    row, column = draw.uniform(0.35, 0.65, 2) * (height, width)
    radii = draw.uniform(0.15, 0.3, 2) * min(height, width)
    inside = ((y - row) / radii[0]) ** 2 + ((x - column) / radii[1]) ** 2 < 1
    pixels[inside] = (230, 20, 20)
    return pixels.clip(0, 255).astype(np.uint8)


def red(pixels: NDArray[np.uint8]) -> Mask:
    """The subject of `picture`, `H W`."""
    values = pixels.astype(int)
    return np.asarray(values[..., 0] - values[..., 1:].max(axis=-1) > 100)


def save_pictures(folder: Path, *seeds: int) -> Path:
    """Saves `picture(seed)` as `SEED.png` for each seed."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        Image.fromarray(picture(seed)).save(folder / f"{seed}.png")
    return folder


def one_line(error: BaseException) -> str:
    """The text of an error that has to be one line."""
    text = str(error)
    assert text
    assert text.splitlines() == [text]
    return text
