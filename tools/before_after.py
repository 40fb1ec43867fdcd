"""Lays two folders of `idgen predict` side by side: the untrained backbone, and a trained one.

idgen predict --config configs/base.yaml --drawings.output before
idgen predict --ckpt_path runs/base/checkpoints/last.ckpt --drawings.output after
python -m tools.before_after before after --out docs/images/before_after.png
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from idgen.errors import UserError
from idgen.mini.subjects import subject_path
from idgen.pictures import PromptRow, captioned_grid, save_png
from tools.command import run


def read(path: Path) -> Tensor:
    """An image file as ``3 H W`` uint8.

    Raises:
        UserError: If there is no such image.
    """
    if not path.is_file():
        raise UserError(f"there is no image {path}; draw both folders with the same prompts")
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def main() -> None:
    """Write the grid of each prompt's first image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--subject", default="robot", help="a demo subject's name")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    names = sorted(path.name for path in (args.before / "images").glob("*-0.png"))
    if not names:
        raise UserError(f"there are no drawings of idgen predict in {args.before / 'images'}")
    prompts = [name[4:-6].replace("-", " ").replace(" sks ", " [V] ") for name in names]
    before = [read(args.before / "images" / name) for name in names]
    after = [read(args.after / "images" / name) for name in names]
    photos = [read(path) for path in sorted(subject_path(args.subject).glob("*.png"))]
    each = zip(prompts, before, after, strict=True)
    rows = [PromptRow(prompt, [first, second], "before, after") for prompt, first, second in each]
    save_png(captioned_grid(rows, references=photos), args.out)


if __name__ == "__main__":
    run(main)
