"""Trains the mini DINO-like ViT without labels, by telling pictures apart.

Run as ``python -m tools.train_mini.dino --work DIR``; it writes ``DIR/dino``, a folder that
transformers' ``ViTModel`` loads. Two views of one picture are its subject, cut out by its mask,
moved, turned, mirrored, slightly recoloured and laid on two different empty scenes; the model has
to find the pairs in the batch by its CLS token (NT-Xent, Chen et al., 2020, arXiv 2002.05709).
No class, identity, colour or caption is used.
"""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, cross_entropy, grid_sample, normalize
from transformers import ViTConfig, ViTModel

from idgen.mini.scenes import SCENES, paint_scene
from idgen.mini.world import SIDE
from tools.command import run
from tools.train_mini.loop import Schedule, load_checkpoint, train, training_parser
from tools.train_mini.pictures import TrainingPictures, to_pixels
from tools.train_mini.start import start_from

_SEED = 4
_TEMPERATURE = 0.1
_SCENES_EACH = 100


def build() -> ViTModel:
    """Build the ViT with weights drawn from the seed."""
    torch.manual_seed(_SEED)
    config = ViTConfig(
        hidden_size=96,
        num_hidden_layers=4,
        num_attention_heads=3,
        intermediate_size=288,
        image_size=SIDE,
        patch_size=8,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return ViTModel(config, add_pooling_layer=False)


class Projector(nn.Module):
    """The ViT and the head that only training uses, as in SimCLR."""

    def __init__(self) -> None:
        super().__init__()
        self.vit = build()
        width = self.vit.config.hidden_size
        self.head = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, 64))

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed pixels, `B 3 H W` in [-1, 1], as `B E` of unit length."""
        states = self.vit(pixel_values=pixels).last_hidden_state[:, 0]
        return normalize(self.head(states), dim=-1)


def empty_scenes() -> Tensor:
    """Empty scenes to lay subjects on, `N 3 H W` in [-1, 1]."""
    seeds = range(10_000_000, 10_000_000 + _SCENES_EACH)
    drawn = [np.asarray(paint_scene(name, seed, SIDE)) for name in SCENES for seed in seeds]
    return to_pixels(np.stack(drawn))


def make_view(pixels: Tensor, mask: Tensor, scenes: Tensor, generator: torch.Generator) -> Tensor:
    """Move the subjects at random and lay them on random scenes.

    Args:
        pixels: `B 3 H W` in [-1, 1].
        mask: The subject, `B 1 H W`, 0 or 1.
        scenes: `N 3 H W` in [-1, 1].
        generator: Source of all that is random.

    Returns:
        `B 3 H W` in [-1, 1].
    """
    count = len(pixels)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    filled = mask / mask.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    line = torch.linspace(-1, 1, mask.shape[-1])
    centre_x = (filled * line).sum(dim=(1, 2, 3))
    centre_y = (filled * line[:, None]).sum(dim=(1, 2, 3))
    angle, zoom = uniform(-0.45, 0.45), 1 / uniform(0.8, 1.3)
    flip = (uniform(0, 1) < 0.5).float() * 2 - 1
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    shift_x, shift_y = uniform(-0.25, 0.25), uniform(-0.2, 0.25)
    matrix = torch.stack(
        [
            torch.stack(
                [cos * flip, -sin * flip, centre_x - flip * (cos * shift_x - sin * shift_y)], 1
            ),
            torch.stack([sin, cos, centre_y - sin * shift_x - cos * shift_y], 1),
        ],
        dim=1,
    )
    both = torch.cat([pixels * mask, mask], dim=1)
    grid = affine_grid(matrix, list(both.shape), align_corners=False)
    moved = grid_sample(both, grid, align_corners=False)
    ground = scenes[torch.randint(len(scenes), (count,), generator=generator)]
    alpha = moved[:, 3:]
    view = moved[:, :3] + ground * (1 - alpha)
    gain = uniform(0.93, 1.07).view(-1, 1, 1, 1)
    offset = torch.rand(count, 3, 1, 1, generator=generator) * 0.08 - 0.04
    return (view * gain + offset).clamp(-1, 1)


def step_loss(
    model: Projector, data: TrainingPictures, scenes: Tensor, step: int, batch: int, device: str
) -> Tensor:
    """NT-Xent of one step over two views of each of ``batch`` pictures."""
    rows = np.random.default_rng(_SEED * 1_000_003 + step).choice(len(data), batch, replace=False)
    rows.sort()
    generator = torch.Generator().manual_seed(step)
    pixels, mask = data.pixels(rows), data.mask(rows)
    views = [make_view(pixels, mask, scenes, generator) for _ in range(2)]
    embeddings = model(torch.cat(views).to(device))
    logits = embeddings @ embeddings.T / _TEMPERATURE
    own = torch.arange(2 * batch, device=device)
    logits = logits.masked_fill(own[:, None] == own[None], -torch.inf)
    return cross_entropy(logits, (own + batch) % (2 * batch))


def export(model: ViTModel, folder: Path) -> None:
    """Write the folder: weights in half precision that load as float32, and the preprocessing."""
    model.eval().half().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config["dtype"] = "float32"
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    preprocessing = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": SIDE, "width": SIDE},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing, indent=2) + "\n")


def main() -> None:
    """Read the command line, train and export."""
    parser = training_parser("train the mini DINO-like ViT")
    parser.add_argument("--steps", type=int, default=2800, help="optimiser steps")
    parser.add_argument("--batch", type=int, default=64, help="pictures a step")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = Projector().to(arguments.device)
    if arguments.begin_with is not None:
        start_from(model.vit, arguments.begin_with)
    if arguments.export_only:
        load_checkpoint("dino", model, arguments.work)
    else:
        data, scenes = TrainingPictures.read(arguments.work), empty_scenes()

        def loss(step: int) -> Tensor:
            return step_loss(model, data, scenes, step, arguments.batch, arguments.device)

        train("dino", model, loss, Schedule(arguments.steps, rate=1e-3), arguments.work)
    export(model.vit, arguments.work / "dino")


if __name__ == "__main__":
    run(main)
