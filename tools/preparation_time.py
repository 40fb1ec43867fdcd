"""Processor time of preparing one photo of 12 megapixels, by GrabCut, OpenCV and the mini models.

OMP_NUM_THREADS=1 python -m tools.preparation_time
OMP_NUM_THREADS=1 python -m tools.preparation_time --method fsr

The photo is made: a red ellipse on an uneven, noisy ground. The first preparation, which imports
and loads, is not counted. Run it from two versions' folders in turn to compare them.
"""

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from idgen.backbones.stable_diffusion import StableDiffusionBackbone
from idgen.prepare import GrabCutSegmenter, OpenCVInpainter, Preparation

_HEIGHT, _WIDTH = 3000, 4000


def save_photo(path: Path) -> None:
    """Makes the photo, a JPEG of quality 92."""
    draw = np.random.default_rng(0)
    coarse = draw.normal(128, 40, (_HEIGHT // 8, _WIDTH // 8, 3)).astype(np.float32)
    ground = cv2.resize(coarse, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_CUBIC)
    noisy = ground + draw.normal(0, 6, ground.shape)
    photo = np.ascontiguousarray(noisy.clip(0, 255).astype(np.uint8))
    cv2.ellipse(photo, (2000, 1600), (800, 600), 0, 0, 360, (200, 30, 40), -1)
    Image.fromarray(photo).save(path, quality=92)


def seconds(photos: Path, output: Path, inpainter: OpenCVInpainter) -> float:
    """Processor time of one preparation from nothing."""
    preparation = Preparation(segmenter=GrabCutSegmenter(), inpainter=inpainter)
    start = time.process_time()
    preparation.run(photos, output, StableDiffusionBackbone(), torch.device("cpu"), progress=False)
    return time.process_time() - start


def main() -> None:
    """Prints the times of three preparations."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    methods = ("navier-stokes", "telea", "fsr")
    parser.add_argument("--method", choices=methods, default="navier-stokes", help="OpenCV's")
    inpainter = OpenCVInpainter(parser.parse_args().method)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        photos.mkdir()
        save_photo(photos / "0.jpg")
        times = [seconds(photos, Path(folder) / str(number), inpainter) for number in range(4)]
    print("processor time, s:", ", ".join(f"{one:.2f}" for one in times[1:]))


if __name__ == "__main__":
    main()
