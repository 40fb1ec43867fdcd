"""Trains the judge of the mini pipeline's drawings: class, scene and main colour of a picture.

Run as ``python -m tools.train_mini.judge --work DIR``; it writes ``DIR/judge.safetensors``. It is
trained on the world's pictures and the truth about them, never on a drawing, and does not ship:
only `tools.train_mini.measure_pipeline` asks it. Some pictures are blurred or noisy, so that a
drawing that is soft is still read.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy

from idgen.mini.classes import CLASSES
from idgen.mini.colours import COLOUR_WORDS
from idgen.mini.scenes import SCENES
from idgen.mini.world import sample_factors
from tools.command import run
from tools.train_mini.loop import Schedule, load_checkpoint, train, training_parser
from tools.train_mini.needed import made_by
from tools.train_mini.pictures import TrainingPictures, to_pixels
from tools.train_mini.start import start_from

ASPECTS: dict[str, tuple[str, ...]] = {
    "class": tuple(CLASSES),
    "scene": tuple(SCENES),
    "colour": COLOUR_WORDS,
}
FILE = "judge.safetensors"
_SEED = 6
_BATCH = 64
_WIDTHS = (32, 48, 64, 96)


class Judge(nn.Module):
    """A small convolutional classifier with a head for each aspect."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width in _WIDTHS:
            layers += [nn.Conv2d(before, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU()]
            layers += [nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU()]
            before = width
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * 16, 192), nn.ReLU())
        self.heads = nn.ModuleDict(
            {aspect: nn.Linear(192, len(names)) for aspect, names in ASPECTS.items()}
        )

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Logits ``B N`` of each aspect, of pixels ``B 3 64 64`` in [-1, 1]."""
        features = self.body(pixels)
        return {aspect: head(features) for aspect, head in self.heads.items()}

    @torch.inference_mode()
    def judge(self, images: Sequence[Image.Image]) -> list[dict[str, str]]:
        """Name class, scene and main colour of some pictures, 64 x 64."""
        pixels = to_pixels(np.stack([np.asarray(image.convert("RGB")) for image in images]))
        logits = self(pixels)
        found = {aspect: logits[aspect].argmax(dim=1).tolist() for aspect in ASPECTS}
        return [
            {aspect: ASPECTS[aspect][found[aspect][row]] for aspect in ASPECTS}
            for row in range(len(images))
        ]


def load_judge(work: Path) -> Judge:
    """Load the trained judge.

    Raises:
        UserError: If it was not trained yet.
    """
    path = made_by("judge", work, FILE)
    judge = Judge()
    judge.load_state_dict(load_file(path))
    return judge.eval()


def true_answers(count: int) -> dict[str, NDArray[np.int64]]:
    """The right answers for the first ``count`` training pictures."""
    factors = [sample_factors(number) for number in range(count)]
    words = {
        "class": [f.noun for f in factors],
        "scene": [f.scene for f in factors],
        "colour": [f.identity.colour_words[0] for f in factors],
    }
    return {
        aspect: np.array([ASPECTS[aspect].index(word) for word in words[aspect]])
        for aspect in ASPECTS
    }


def soften(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Blur a third of the pictures, and add a little noise to all."""
    blurred = avg_pool2d(pixels, 3, 1, 1, count_include_pad=False)
    chosen = torch.rand(len(pixels), 1, 1, 1, generator=generator) < 1 / 3
    noise = torch.randn(pixels.shape, generator=generator)
    return torch.where(chosen, blurred, pixels) + 0.05 * noise


def main() -> None:
    """Read the command line and train."""
    parser = training_parser("train the judge of the mini pipeline's drawings")
    parser.add_argument("--steps", type=int, default=2500, help="optimiser steps")
    arguments: argparse.Namespace = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(_SEED)
    judge = Judge().to(arguments.device)
    if arguments.begin_with is not None:
        start_from(judge, arguments.begin_with)
    if arguments.export_only:
        load_checkpoint("judge", judge, arguments.work)
    else:
        _train(judge, arguments)
    state = {name: value.cpu().contiguous() for name, value in judge.state_dict().items()}
    save_file(state, arguments.work / FILE)


def _train(judge: Judge, arguments: argparse.Namespace) -> None:
    pictures = TrainingPictures.read(arguments.work)
    answers = true_answers(len(pictures))

    def loss_of_step(step: int) -> Tensor:
        rows = np.random.default_rng([_SEED, step]).integers(0, len(pictures), _BATCH)
        generator = torch.Generator().manual_seed(step)
        logits = judge(soften(pictures.pixels(rows), generator).to(arguments.device))
        losses = [
            cross_entropy(logits[aspect], torch.from_numpy(answers[aspect][rows]).to(logit.device))
            for aspect, logit in logits.items()
        ]
        return torch.stack(losses).sum()

    schedule = Schedule(arguments.steps, rate=2e-3)
    train("judge", judge, loss_of_step, schedule, arguments.work)


if __name__ == "__main__":
    run(main)
