"""Draws a grid of classes and scenes with a pipeline folder, to look at."""

import argparse
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from idgen.mini.assets import WEIGHTS
from idgen.mini.captions import article
from idgen.mini.classes import CLASSES
from idgen.mini.scenes import SCENES

_COLOURS = ("red", "blue", "yellow", "green", "purple", "orange", "white", "black")


def grid_prompts(rows: int, columns: int) -> list[list[str]]:
    """One prompt of each class and scene, a colour in every second."""
    nouns = list(CLASSES)[:rows]
    return [[_prompt(r, noun, c) for c in range(columns)] for r, noun in enumerate(nouns)]


def _prompt(row: int, noun: str, column: int) -> str:
    scene = list(SCENES.values())[column]
    subject = f"{_COLOURS[(row + column) % 8]} {noun}" if (row + column) % 2 else noun
    return f"{article(subject)} {scene.phrases[0]}"


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pipeline", type=Path, default=WEIGHTS / "pipeline", help="its folder")
    parser.add_argument("--out", type=Path, required=True, help="PNG file to write")
    parser.add_argument("--rows", type=int, default=12, help="classes")
    parser.add_argument("--columns", type=int, default=12, help="scenes")
    parser.add_argument("--steps", type=int, default=25, help="of the sampler")
    parser.add_argument("--guidance", type=float, default=4.0, help="of the text")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    args = parser.parse_args()
    for name, count, most in (
        ("rows", args.rows, len(CLASSES)),
        ("columns", args.columns, len(SCENES)),
    ):
        if not 1 <= count <= most:
            parser.error(f"--{name} is from 1 to {most}")
    torch.set_num_threads(args.threads)
    pipeline = StableDiffusionPipeline.from_pretrained(args.pipeline)
    pipeline.set_progress_bar_config(disable=True)
    sheet = Image.new("RGB", (args.columns * 66, args.rows * 66), "white")
    for row, prompts in enumerate(grid_prompts(args.rows, args.columns)):
        images = pipeline(
            prompts,
            num_inference_steps=args.steps,
            guidance_scale=args.guidance,
            generator=torch.Generator().manual_seed(row),
        ).images
        for column, image in enumerate(images):
            sheet.paste(image, (column * 66, row * 66))
    sheet.resize((sheet.width * 2, sheet.height * 2), Image.Resampling.NEAREST).save(args.out)


if __name__ == "__main__":
    main()
