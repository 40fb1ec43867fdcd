"""How well each inpainter restores the background, on the mini world, where it is known.

python -m tools.inpainting --pictures 50 --seed 0
python -m tools.inpainting --backbone 4 --sheet fills.png
python -m tools.inpainting --diffusers /models/stable-diffusion-2-inpainting --device cuda

Subjects are held out; masks are the true ones, widened as in preparation. PSNR is taken over the
pixels of the true mask against the true background.
"""

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track

from idgen.backbones.stable_diffusion import StableDiffusionBackbone
from idgen.masks import Mask
from idgen.mini.world import Drawing, draw, sample_factors
from idgen.prepare import (
    BackboneInpainter,
    DiffusersInpainter,
    Inpainter,
    OpenCVInpainter,
    SceneLora,
)
from idgen.prepare.inpainters.inpainter import Inpaint, dilate


class MeanColour(Inpainter):
    """The mean colour of all that is no subject: what anything better has to beat."""

    @property
    def identity(self) -> str:
        """Not used: nothing is stored."""
        return "mean colour"

    @contextmanager
    def loaded(self, device: torch.device) -> Iterator[Inpaint]:
        """Nothing to load."""

        def inpaint(image: NDArray[np.uint8], mask: Mask) -> NDArray[np.uint8]:
            hole = dilate(mask, 0.06)
            result = image.copy()
            result[hole] = image[~hole].mean(axis=0).round()
            return result

        yield inpaint


class ShiftMap(Inpainter):
    """OpenCV's shift map, which copies pieces of the picture: to compare."""

    @property
    def identity(self) -> str:
        """Not used: nothing is stored."""
        return "shift map"

    @contextmanager
    def loaded(self, device: torch.device) -> Iterator[Inpaint]:
        """Nothing to load."""
        # OpenCV's type stubs have no contributed modules.
        xphoto: Any = getattr(cv2, "xphoto")  # noqa: B009

        def inpaint(image: NDArray[np.uint8], mask: Mask) -> NDArray[np.uint8]:
            hole = dilate(mask, 0.06)
            lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
            found = np.zeros_like(image)
            known = np.where(hole, 0, 255).astype(np.uint8)
            xphoto.inpaint(lab, known, found, xphoto.INPAINT_SHIFTMAP)
            filled = cv2.cvtColor(found, cv2.COLOR_LAB2RGB)
            return np.where(hole[..., None], filled, image).astype(np.uint8)

        yield inpaint


def squared_error(background: NDArray[np.uint8], drawing: Drawing) -> float:
    """Mean squared error inside the mask, with levels from 0 to 1."""
    difference = background[drawing.mask].astype(float) - drawing.background[drawing.mask]
    return float((difference**2).mean() / 255**2)


def measure(
    name: str, inpainter: Inpainter, drawings: list[Drawing], device: torch.device
) -> dict[str, Any]:
    """PSNR in dB: mean and standard error over pictures, and of the pooled error."""
    errors = []
    shown: list[NDArray[np.uint8]] = []
    with inpainter.loaded(device) as inpaint:
        start = time.perf_counter()
        for drawing in track(drawings, description=f"{name:<28}"):
            background = inpaint(drawing.picture, drawing.mask)
            shown.append(background)
            errors.append(squared_error(background, drawing))
        seconds = (time.perf_counter() - start) / len(drawings)
    each = -10 * np.log10(np.maximum(errors, 1e-10))
    return {
        "name": name,
        "mean": each.mean(),
        "error": each.std(ddof=1) / np.sqrt(len(each)),
        "pooled": -10 * np.log10(np.mean(errors)),
        "seconds": seconds,
        "shown": shown,
    }


def of_mini(steps: int, samples: int, lora: SceneLora | None) -> Inpainter:
    """The mini backbone as an inpainter, as `configs/backgrounds/backbone_mini.yaml` has it."""
    made = BackboneInpainter(
        steps=steps, samples=samples, strength=0.7, guidance=1.0, prompt="", lora=lora
    )
    return made.of(StableDiffusionBackbone())


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="number of the first picture")
    parser.add_argument("--diffusers", nargs="*", default=[], help="pipeline folders or hub ids")
    parser.add_argument(
        "--backbone", type=int, nargs="*", default=[], help="means of so many fills by the backbone"
    )
    parser.add_argument(
        "--sheet",
        type=Path,
        help="a PNG of the first 12: picture, mask, truth, and the fills in the table's order",
    )
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    numbers = range(args.seed, args.seed + args.pictures)
    drawings = [draw(sample_factors(number, held_out_identity=True)) for number in numbers]
    inpainters: dict[str, Inpainter] = {
        "mean colour": MeanColour(),
        "OpenCV, Navier-Stokes": OpenCVInpainter(),
        "OpenCV, Telea": OpenCVInpainter(method="telea"),
        "OpenCV, shift map": ShiftMap(),
        "OpenCV, FSR": OpenCVInpainter(method="fsr"),
        **(
            {"mini backbone without its LoRA": of_mini(args.steps, 1, None)}
            if args.backbone
            else {}
        ),
        **{f"backbone, mean of {n}": of_mini(args.steps, n, SceneLora()) for n in args.backbone},
        **{f"diffusers, {s}": DiffusersInpainter(s, steps=args.steps) for s in args.diffusers},
    }
    print("| inpainter | PSNR in the mask, dB | pooled, dB | s a picture |\n|---|---|---|---|")
    masks = [np.repeat(d.mask[..., None], 3, axis=2).astype(np.uint8) * 255 for d in drawings]
    columns = [[d.picture for d in drawings], masks, [d.background for d in drawings]]
    for name, inpainter in inpainters.items():
        row = measure(name, inpainter, drawings, torch.device(args.device))
        print(
            f"| {name} | {row['mean']:.2f} ± {row['error']:.2f} | {row['pooled']:.2f} "
            f"| {row['seconds']:.3f} |"
        )
        columns.append(row["shown"])
    if args.sheet is not None:
        rows = [np.concatenate(row, axis=1) for row in zip(*columns, strict=True)][:12]
        sheet = Image.fromarray(np.concatenate(rows))
        sheet.resize((2 * sheet.width, 2 * sheet.height), Image.Resampling.NEAREST).save(args.sheet)


if __name__ == "__main__":
    main()
