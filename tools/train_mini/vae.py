"""Trains the mini pipeline's autoencoder: 64 x 64 pictures to 16 x 16 latents and back."""

import argparse
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss

from tools.train_mini.pictures import TrainingPictures

_KL_WEIGHT = 1e-6
_SAVE_EVERY = 120.0


def build_vae() -> Any:
    """An untrained autoencoder, f = 4, with 8 latent channels."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 48),
        layers_per_block=1,
        latent_channels=8,
        norm_num_groups=8,
        sample_size=64,
        mid_block_add_attention=False,
    )


def vae_loss(vae: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """The training loss and the squared error alone.

    L1 + 2 MSE + L1 of the picture's differences, which keeps outlines sharp, + a small KL.

    Args:
        vae: The autoencoder.
        pixels: ``B 3 H W`` in [-1, 1].
    """
    posterior = vae.encode(pixels).latent_dist
    drawn = vae.decode(posterior.sample()).sample
    squared = mse_loss(drawn, pixels)
    edges = l1_loss(drawn.diff(dim=-1), pixels.diff(dim=-1))
    edges = edges + l1_loss(drawn.diff(dim=-2), pixels.diff(dim=-2))
    kl = posterior.kl().mean()
    return l1_loss(drawn, pixels) + 2 * squared + 0.5 * edges + _KL_WEIGHT * kl, squared


def psnr(squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB of pixels in [-1, 1]."""
    return 10 * math.log10(4 / max(squared_error, 1e-12))


def train(work: Path, seconds: float, batch: int, rate: float, device: str, threads: int) -> None:
    """Trains for a time that counts over restarts, saving as it goes.

    Args:
        work: Folder of the training run; `vae.ckpt` and `vae_ema.pt` are written in it.
        seconds: Time to train; the learning rate falls to zero over it.
        batch: Pictures a step.
        rate: Peak learning rate.
        device: Torch device.
        threads: CPU threads.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    pictures, vae = TrainingPictures.read(work), build_vae().to(device)
    ema = {key: value.clone() for key, value in vae.state_dict().items()}
    optimizer = torch.optim.AdamW(vae.parameters(), rate, betas=(0.9, 0.99), weight_decay=0.0)
    step, spent, checkpoint = 0, 0.0, work / "vae.ckpt"
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        vae.load_state_dict(state["vae"])
        optimizer.load_state_dict(state["optimizer"])
        ema, step, spent = state["ema"], state["step"], state["spent"]
    started, saved, running = time.monotonic() - spent, time.monotonic(), 0.0
    while spent < seconds:
        rows = np.random.default_rng(step).integers(0, len(pictures), batch)
        pixels = pictures.pixels(rows).to(device)
        if step % 2:
            pixels = pixels.flip(-1)
        share = spent / seconds
        warmth = min(1.0, (step + 1) / 200)
        for group in optimizer.param_groups:
            group["lr"] = rate * warmth * 0.5 * (1 + math.cos(math.pi * share))
        loss, squared = vae_loss(vae, pixels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        decay = min(0.999, (step + 1) / (step + 10))
        with torch.no_grad():
            for key, value in vae.state_dict().items():
                ema[key].lerp_(value, 1 - decay)
        step += 1
        running = squared.item() if step == 1 else 0.98 * running + 0.02 * squared.item()
        spent = time.monotonic() - started
        if step % 100 == 0:
            seen = step * batch
            print(
                f"{spent:6.0f} s step {step} seen {seen} ({seen / spent:.0f}/s) "
                f"psnr {psnr(running):.2f} dB",
                flush=True,
            )
        if time.monotonic() - saved > _SAVE_EVERY or spent >= seconds:
            state = {"vae": vae.state_dict(), "optimizer": optimizer.state_dict(), "ema": ema}
            _save({**state, "step": step, "spent": spent, "batch": batch}, checkpoint)
            saved = time.monotonic()
    _save(ema, work / "vae_ema.pt")


def _save(state: Any, path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of the training run")
    parser.add_argument("--seconds", type=float, default=1000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    train(args.work, args.seconds, args.batch, args.rate, args.device, args.threads)


if __name__ == "__main__":
    main()
