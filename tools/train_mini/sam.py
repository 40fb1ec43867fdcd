"""Trains the mini segment-anything model on points and boxes from the world's exact masks.

Run as ``python -m tools.train_mini.sam --work DIR``; it writes ``DIR/sam``. The losses are those
of Kirillov et al., 2023 (arXiv 2304.02643): focal and dice on the masks, the best of three for
ambiguous prompts, and squared error on the predicted IoU.
"""

import json
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from idgen.mini.sam import CONFIG, WEIGHTS, build_mini_sam
from tools.command import run
from tools.train_mini.clip_export import half
from tools.train_mini.loop import Schedule, load_checkpoint, train, training_parser
from tools.train_mini.pictures import TrainingPictures
from tools.train_mini.start import start_from

SIZES: dict[str, Any] = {
    "image_size": 64,
    "patch_size": 4,
    "depth": 4,
    "width": 64,
    "heads": 2,
    "window": 4,
    "global_blocks": [2],
    "prompt_width": 48,
    "decoder_depth": 2,
    "decoder_heads": 2,
    "decoder_mlp": 96,
    "mask_in_chans": 8,
    "pixel_mean": [127.5, 127.5, 127.5],
    "pixel_std": [63.75, 63.75, 63.75],
}
_SEED = 3
_BATCH = 16
_FOCAL_GAMMA = 2.0


def random_points(mask: Tensor, generator: torch.Generator) -> Tensor:
    """One random pixel inside each mask, `B 1 H W` to `B 2` as x and y."""
    weights = mask.flatten(1) + 1e-9
    index = torch.multinomial(weights, 1, generator=generator)[:, 0]
    return torch.stack([index % mask.shape[-1], index // mask.shape[-1]], dim=1).float()


def random_boxes(mask: Tensor, generator: torch.Generator) -> Tensor:
    """The box around each mask, `B 1 H W` to `B 4`, each side moved by up to three pixels."""
    columns, rows = mask.amax(dim=2)[:, 0], mask.amax(dim=3)[:, 0]
    side = mask.shape[-1]
    place = torch.arange(side, dtype=torch.float32)
    edges = []
    for filled in (columns, rows):
        edges.append(torch.where(filled > 0, place, torch.tensor(float(side))).amin(dim=1))
        edges.append(torch.where(filled > 0, place, torch.tensor(-1.0)).amax(dim=1))
    boxes = torch.stack([edges[0], edges[2], edges[1], edges[3]], dim=1)
    jitter = torch.rand(boxes.shape, generator=generator) * 6 - 3
    return (boxes + jitter).clamp(0, side - 1)


def decode(model: Any, embeddings: Tensor, sparse: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
    """`MaskDecoder.predict_masks` with one prompt for each of many pictures.

    The package's own takes many prompts for one picture.

    Args:
        model: The `Sam`.
        embeddings: Of the pictures, `B C h w`.
        sparse: Of points and boxes, `B N C`.
        dense: Of masks, `B C h w`.

    Returns:
        Logits of four masks, `B 4 H W`, and their predicted IoU, `B 4`.
    """
    decoder = model.mask_decoder
    tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([tokens.expand(len(sparse), -1, -1), sparse], dim=1)
    source = embeddings + dense
    place = model.prompt_encoder.get_dense_pe().expand(len(source), -1, -1, -1)
    states, source = decoder.transformer(source, place, tokens)
    count = decoder.num_mask_tokens
    upscaled = decoder.output_upscaling(source.transpose(1, 2).reshape(embeddings.shape))
    weights = torch.stack(
        [decoder.output_hypernetworks_mlps[k](states[:, 1 + k]) for k in range(count)], dim=1
    )
    masks = torch.einsum("bkc,bchw->bkhw", weights, upscaled)
    return masks, decoder.iou_prediction_head(states[:, 0])


def mask_losses(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Focal (times 20) plus dice loss of each mask, and its true IoU.

    Args:
        logits: `B K H W`.
        target: `B 1 H W`, 0 or 1.

    Returns:
        Both `B K`.
    """
    target = target.expand_as(logits)
    probability = logits.sigmoid()
    plain = binary_cross_entropy_with_logits(logits, target, reduction="none")
    missed = (probability - target).abs()
    focal = (missed**_FOCAL_GAMMA * plain).mean(dim=(2, 3))
    overlap = (probability * target).sum(dim=(2, 3))
    total = (probability + target).sum(dim=(2, 3))
    dice = 1 - (2 * overlap + 1) / (total + 1)
    inside = logits > 0
    both = (inside & (target > 0)).sum(dim=(2, 3))
    either = (inside | (target > 0)).sum(dim=(2, 3)).clamp(min=1)
    return 20 * focal + dice, (both / either).detach()


def step_loss(model: Any, data: TrainingPictures, step: int, device: str) -> Tensor:
    """Loss of one step: each picture by a point, and by a box or two points."""
    rows = np.random.default_rng(_SEED * 1_000_003 + step).choice(len(data), _BATCH, replace=False)
    rows.sort()
    generator = torch.Generator().manual_seed(step)
    mask = data.mask(rows)
    levels = (data.pixels(rows) + 1) * 127.5
    embeddings = model.image_encoder((levels.to(device) - model.pixel_mean) / model.pixel_std)
    point, second = (random_points(mask, generator).to(device) for _ in range(2))
    outside = random_points(1 - mask, generator).to(device)
    ones = torch.ones(len(rows), 1, device=device)
    encode = model.prompt_encoder
    prompts = [encode((point[:, None], ones), None, None)]
    if step % 2:
        prompts.append(encode(None, random_boxes(mask, generator).to(device), None))
    else:
        other = outside if step % 4 else second
        labels = torch.cat([ones, 0 * ones if step % 4 else ones], dim=1)
        prompts.append(encode((torch.stack([point, other], dim=1), labels), None, None))
    target = mask.to(device)
    loss = torch.zeros((), device=device)
    for sparse, dense in prompts:
        logits, predicted = decode(model, embeddings, sparse, dense)
        losses, iou = mask_losses(logits, target)
        best = losses[:, 1:].amin(dim=1).mean() + 0.2 * losses[:, 1:].mean()
        loss = loss + losses[:, 0].mean() + best + mse_loss(predicted, iou)
    return loss / len(prompts)


def main() -> None:
    """Read the command line, train and export."""
    parser = training_parser("train the mini segment-anything model")
    parser.add_argument("--steps", type=int, default=1500, help="optimiser steps")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(_SEED)
    model = build_mini_sam(SIZES).to(arguments.device)
    if arguments.begin_with is not None:
        start_from(model, arguments.begin_with)
    if arguments.export_only:
        load_checkpoint("sam", model, arguments.work)
    else:
        data = TrainingPictures.read(arguments.work)

        def loss(step: int) -> Tensor:
            return step_loss(model, data, step, arguments.device)

        train("sam", model, loss, Schedule(arguments.steps, rate=1.5e-3), arguments.work)
    folder = arguments.work / "sam"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(SIZES, indent=2) + "\n")
    save_file(half(model.state_dict()), folder / WEIGHTS)


if __name__ == "__main__":
    run(main)
