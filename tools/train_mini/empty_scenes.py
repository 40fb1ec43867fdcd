"""Trains what lets the mini backbone draw scenes with nobody in them: a LoRA on its U-Net.

Run as ``python -m tools.train_mini.empty_scenes --output FOLDER --steps 1500``.

Real backbones know empty scenes. Each picture that the mini backbone was trained on holds one
subject, so it draws one into any hole; this LoRA, trained on scenes that the world draws without
one, mends that for `BackboneInpainter`.
"""

import argparse
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor

from idgen.backbones.stable_diffusion import StableDiffusionBackbone
from idgen.mini.scenes import SCENES, paint_scene
from idgen.mini.world import SIDE, SUPERSAMPLE
from tools.command import run

_TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2", "ff.net.0.proj", "ff.net.2"]
_BATCH = 8


def draw_scenes(count: int, seed: int) -> Tensor:
    """Empty scenes, `N 3 S S` in [-1, 1]; their seeds are no picture's of the world."""
    rng = random.Random(f"empty scenes/{seed}")
    names = list(SCENES)
    drawn = []
    for _ in range(count):
        scene = paint_scene(rng.choice(names), rng.randrange(2**31), SIDE * SUPERSAMPLE)
        drawn.append(np.asarray(scene.reduce(SUPERSAMPLE)))
    pixels = torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2)
    return pixels.float() / 127.5 - 1


@torch.no_grad()
def encoded(backbone: StableDiffusionBackbone, pixels: Tensor) -> Tensor:
    """Scaled latents of pictures, `N C h w`."""
    with backbone.autoencoder(torch.device("cpu")) as autoencoder:
        means = [autoencoder.encode(batch)[0] for batch in torch.split(pixels, 50)]
    return backbone.scale_latents(torch.cat(means))


def begin_with(unet: Any, folder: Path) -> None:
    """Adds an earlier run's LoRA to a U-Net, to be trained on."""
    weights = load_file(folder / "pytorch_lora_weights.safetensors")
    weights = {name: weight.float() for name, weight in weights.items()}
    unet.load_lora_adapter(weights, prefix="unet", adapter_name="default")
    for name, weight in unet.named_parameters():
        weight.requires_grad_("lora_" in name)


def train(backbone: StableDiffusionBackbone, latents: Tensor, steps: int, rate: float) -> None:
    """Trains a LoRA in place under the empty prompt; the rate falls to 0 along a cosine."""
    weights = [weight for weight in backbone.denoiser.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    condition = backbone.encode([""] * _BATCH)
    start, seen = time.perf_counter(), 0.0
    for step in range(1, steps + 1):
        noised = backbone.process.noised(latents[torch.randint(len(latents), (_BATCH,))])
        prediction = backbone.predict(noised.noisy, noised.times, condition)
        loss = (prediction - noised.target).square().mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        seen += loss.item()
        if step % 50 == 0:
            print(f"step {step}: loss {seen / 50:.4f}, {time.perf_counter() - start:.0f} s")
            seen = 0.0


def main() -> None:
    """Trains, and writes `pytorch_lora_weights.safetensors` as diffusers loads it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--begin-with", type=Path, help="an earlier run's output")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    backbone = StableDiffusionBackbone()
    backbone.load()
    backbone.requires_grad_(False)
    latents = encoded(backbone, draw_scenes(args.scenes, args.seed))
    unet = backbone.denoiser
    if args.begin_with is None:
        lora = LoraConfig(r=args.rank, lora_alpha=args.rank, target_modules=_TARGETS)
        unet.add_adapter(lora)  # type: ignore[operator]
    else:
        begin_with(unet, args.begin_with)
    train(backbone, latents, args.steps, args.rate)
    state = {name: weight.half() for name, weight in get_peft_model_state_dict(unet).items()}
    StableDiffusionPipeline.save_lora_weights(args.output, unet_lora_layers=state)


if __name__ == "__main__":
    run(main)
