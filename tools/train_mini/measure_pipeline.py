"""Measures the mini pipeline: what its autoencoder keeps, and whether it draws what is asked.

Run as ``python -m tools.train_mini.measure_pipeline --work DIR``. The autoencoder is measured on
held-out identities. The 400 drawings, made as `configs/base.yaml` has it, are of every class in
every scene, every second prompt with a colour; the judge (`tools.train_mini.judge`), trained on the
world's truth and never on drawings, says what is in each. Its own accuracy on true held-out
pictures is printed beside: these figures cannot be expected above it.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
)
from PIL import Image
from rich.progress import track

from idgen.mini.assets import WEIGHTS
from idgen.mini.captions import article
from idgen.mini.classes import CLASSES
from idgen.mini.colours import COLOUR_WORDS
from idgen.mini.scenes import SCENES
from idgen.mini.world import SIDE
from tools.command import run
from tools.train_mini.judge import Judge, load_judge
from tools.train_mini.measure import held_out_drawing
from tools.train_mini.pictures import to_pixels

_BATCH = 12


@dataclass(frozen=True)
class Wish:
    """What a drawing was asked to show.

    Attributes:
        noun: The class.
        scene: The scene.
        colour: The main colour, or None where the prompt names none.
    """

    noun: str
    scene: str
    colour: str | None

    @property
    def prompt(self) -> str:
        """The prompt that asks for it."""
        subject = self.noun if self.colour is None else f"{self.colour} {self.noun}"
        return f"{article(subject)} {SCENES[self.scene].phrases[0]}"


def wishes(count: int) -> list[Wish]:
    """Classes and scenes in turn, every second with a colour."""
    asked = []
    for number in range(count):
        row, column = number // len(SCENES), number % len(SCENES)
        noun = list(CLASSES)[row % len(CLASSES)]
        colour = COLOUR_WORDS[(row * 7 + column) % len(COLOUR_WORDS)]
        asked.append(Wish(noun, list(SCENES)[column], colour if (row + column) % 2 else None))
    return asked


def measure_judge(judge: Judge, count: int) -> dict[str, float]:
    """How often the judge is right about true pictures of held-out identities."""
    drawings = [held_out_drawing(number) for number in range(count)]
    found = judge.judge([Image.fromarray(drawing.picture) for drawing in drawings])
    right = [
        (
            seen["class"] == drawing.factors.noun,
            seen["scene"] == drawing.factors.scene,
            seen["colour"] == drawing.factors.identity.colour_words[0],
        )
        for seen, drawing in zip(found, drawings, strict=True)
    ]
    shares = np.mean(right, axis=0).round(4).tolist()
    return dict(zip(("judge_class", "judge_scene", "judge_colour"), shares, strict=True))


@torch.inference_mode()
def measure_autoencoder(vae: Any, count: int) -> dict[str, float]:
    """PSNR in dB of held-out pictures encoded and decoded, the mean over pictures.

    ``subject_psnr`` is over the subjects' pixels alone.
    """
    values, subject_values = [], []
    for number in track(range(count), "autoencoder: pictures"):
        drawing = held_out_drawing(number)
        pixels = to_pixels(drawing.picture[None])
        decoded = vae.decode(vae.encode(pixels).latent_dist.mean).sample.clamp(-1, 1)
        squared = (decoded - pixels).square().mean(dim=1)[0]
        values.append(10 * torch.log10(4 / squared.mean()).item())
        subject = squared[torch.from_numpy(drawing.mask)].mean()
        subject_values.append(10 * torch.log10(4 / subject).item())
    return {
        "psnr": round(float(np.mean(values)), 2),
        "subject_psnr": round(float(np.mean(subject_values)), 2),
    }


def load_unet(weights: Path) -> Any:
    """The U-Net's pipeline, with the solver of `configs/base.yaml`."""
    pipeline = StableDiffusionPipeline.from_pretrained(weights / "pipeline")
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(
        pipeline.scheduler.config, algorithm_type="sde-dpmsolver++"
    )
    return pipeline


def load_flow(folder: Path) -> tuple[Any, dict[str, int]]:
    """The flow's pipeline, and what its calls are told: sizes, and T5's one token of zeros."""
    pipeline = StableDiffusion3Pipeline.from_pretrained(
        folder, text_encoder_3=None, tokenizer_3=None
    )
    return pipeline, {"height": SIDE, "width": SIDE, "max_sequence_length": 1}


def draw_wishes(
    pipeline: Any, asked: Sequence[Wish], steps: int, guidance: float, **settings: Any
) -> list[Image.Image]:
    """Draw each wish once, from noise that its number fixes."""
    images: list[Image.Image] = []
    for start in track(range(0, len(asked), _BATCH), "drawings"):
        some = asked[start : start + _BATCH]
        generators = [torch.Generator().manual_seed(start + k) for k in range(len(some))]
        images += pipeline(
            [wish.prompt for wish in some],
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=generators,
            **settings,
        ).images
    return images


def judge_drawings(
    judge: Judge, asked: Sequence[Wish], images: Sequence[Image.Image]
) -> dict[str, float]:
    """How often class, scene and, where one was asked for, colour come out as asked."""
    pairs = list(zip(asked, judge.judge(images), strict=True))
    colours = [wish.colour == seen["colour"] for wish, seen in pairs if wish.colour is not None]
    return {
        "class": round(float(np.mean([wish.noun == seen["class"] for wish, seen in pairs])), 4),
        "scene": round(float(np.mean([wish.scene == seen["scene"] for wish, seen in pairs])), 4),
        "colour": round(float(np.mean(colours)), 4),
    }


def save_grid(images: Sequence[Image.Image], path: Path) -> None:
    """Write the first drawings as a sheet, a class each row and a scene each column, doubled."""
    columns, rows = len(SCENES), min(len(CLASSES), len(images) // len(SCENES))
    images = images[: rows * columns]
    sheet = Image.new("RGB", (columns * 66, rows * 66), "white")
    for number, image in enumerate(images):
        sheet.paste(image, (number % columns * 66, number // columns * 66))
    sheet.resize((sheet.width * 2, sheet.height * 2), Image.Resampling.NEAREST).save(path)


def main() -> None:
    """Read the command line, measure and print one JSON line."""
    parser = argparse.ArgumentParser(description="measure the mini pipeline")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the parts")
    parser.add_argument("--work", type=Path, required=True, help="where the trained judge is")
    parser.add_argument("--flow", type=Path, help="a folder of the flow, in place of the U-Net")
    parser.add_argument("--drawings", type=int, default=400, help="drawings to judge")
    parser.add_argument("--grid", type=Path, help="PNG file to write the drawings to")
    parser.add_argument("--pictures", type=int, default=200, help="for the autoencoder")
    parser.add_argument("--steps", type=int, default=20, help="of the sampler")
    parser.add_argument("--guidance", type=float, default=4.0, help="of the text")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    judge = load_judge(args.work)
    pipeline, settings = load_flow(args.flow) if args.flow else (load_unet(args.weights), {})
    pipeline.set_progress_bar_config(disable=True)
    asked = wishes(args.drawings)
    images = draw_wishes(pipeline, asked, args.steps, args.guidance, **settings)
    if args.grid is not None:
        save_grid(images, args.grid)
    figures = measure_autoencoder(pipeline.vae, args.pictures)
    figures |= judge_drawings(judge, asked, images) | measure_judge(judge, args.pictures)
    print(json.dumps({"part": "flow" if args.flow else "pipeline", "count": len(asked), **figures}))


if __name__ == "__main__":
    run(main)
