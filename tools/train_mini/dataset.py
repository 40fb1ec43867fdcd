"""Draws the training set once: pictures, masks and the factors of each."""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from idgen.errors import UserError
from idgen.mini.world import SIDE, draw, sample_factors
from tools.command import run

_CHUNK = 500


def draw_chunk(first: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw the pictures and masks numbered from ``first``."""
    drawings = [draw(sample_factors(first + k)) for k in range(_CHUNK)]
    masks = np.stack([np.packbits(d.mask) for d in drawings])
    return np.stack([d.picture for d in drawings]), masks


def build_dataset(folder: Path, pictures: int, workers: int) -> None:
    """Write ``pictures.npy`` (N H W 3, uint8) and ``masks.npy`` (N H*W/8, packed bits).

    Picture k is that of ``sample_factors(k)``, from which its captions are written anew. N is
    ``pictures`` rounded up to whole chunks of 500. What is there already is kept.

    Raises:
        UserError: If another number of pictures is there.
    """
    starts = range(0, pictures, _CHUNK)
    if (folder / "masks.npy").exists():
        there = len(np.load(folder / "masks.npy", mmap_mode="r"))
        if there != len(starts) * _CHUNK:
            raise UserError(
                f"{folder} holds {there} pictures, not {len(starts) * _CHUNK}; remove it to draw "
                f"it anew, or give --pictures {there}"
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    images = np.empty((len(starts) * _CHUNK, SIDE, SIDE, 3), np.uint8)
    masks = np.empty((len(starts) * _CHUNK, SIDE * SIDE // 8), np.uint8)
    with ProcessPoolExecutor(workers) as pool:
        chunks = pool.map(draw_chunk, starts)
        for start, (some, stencils) in zip(
            starts, track(chunks, "drawing", len(starts)), strict=True
        ):
            images[start : start + _CHUNK], masks[start : start + _CHUNK] = some, stencils
    _save(folder / "pictures.npy", images)
    _save(folder / "masks.npy", masks)


def _save(path: Path, array: NDArray[np.uint8]) -> None:
    """Save whole or not at all: a file that is there counts as finished."""
    temporary = path.with_name(f".{path.name}")
    np.save(temporary, array)
    os.replace(temporary, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of the training run")
    parser.add_argument("--pictures", type=int, default=60_000, help="how many, in chunks of 500")
    parser.add_argument("--workers", type=int, default=2, help="processes that draw")
    args = parser.parse_args()
    build_dataset(args.work / "data", args.pictures, args.workers)


if __name__ == "__main__":
    run(main)
