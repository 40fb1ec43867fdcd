"""Trains the autoencoder's decoder on, its encoder frozen, while the U-Net learns the latents.

Run as ``python -m tools.train_mini.decoder --work DIR`` once ``DIR/vae_ema.pt`` is there. A little
noise on the latents makes the decoder forgive the U-Net small errors. The autoencoder with the
better decoder is written to ``DIR/vae_tuned.pt`` on the way and at the end.
"""

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss

from tools.train_mini.checkpoint import save_atomically
from tools.train_mini.pictures import TrainingPictures
from tools.train_mini.vae import build_vae, psnr

_SAVE_EVERY = 180.0
_WARMUP = 100
# Standard deviation of the noise, where that of the latents is about 1.
_NOISE = 0.04
_ENCODER = ("encoder.", "quant_conv.")


class DecoderTrainer:
    """Trains the decoder for a time that counts over restarts.

    Args:
        work: Folder of the training run.
        device: Torch device.
        batch: Pictures a step.
        rate: Peak learning rate; it falls to zero as a cosine.
    """

    def __init__(self, work: Path, device: str, batch: int, rate: float) -> None:
        torch.manual_seed(0)
        self.device, self.batch, self.rate = device, batch, rate
        self._checkpoint, self._result = work / "decoder.ckpt", work / "vae_tuned.pt"
        self.pictures = TrainingPictures.read(work)
        self.vae: Any = build_vae().to(device)
        first = torch.load(work / "vae_ema.pt", map_location=device, weights_only=True)
        self.vae.load_state_dict(first)
        self.frozen = {key: value for key, value in first.items() if key.startswith(_ENCODER)}
        for name, weight in self.vae.named_parameters():
            weight.requires_grad_(not name.startswith(_ENCODER))
        trained = [weight for weight in self.vae.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(
            trained, rate, betas=(0.9, 0.99), weight_decay=0.0, fused=True
        )
        self.ema = {
            key: value.clone() for key, value in first.items() if not key.startswith(_ENCODER)
        }
        self.step, self.spent = 0, 0.0
        if self._checkpoint.exists():
            self._resume()

    def _resume(self) -> None:
        state = torch.load(self._checkpoint, map_location=self.device, weights_only=True)
        self.vae.load_state_dict(state["vae"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema, self.step, self.spent = state["ema"], state["step"], state["spent"]

    def save(self) -> None:
        """Write the checkpoint to go on from, and the autoencoder as it is now."""
        state = {"vae": self.vae.state_dict(), "optimizer": self.optimizer.state_dict()}
        save_atomically(
            {**state, "ema": self.ema, "step": self.step, "spent": self.spent}, self._checkpoint
        )
        save_atomically({**self.frozen, **self.ema}, self._result)

    def loss(self) -> tuple[Tensor, Tensor]:
        """L1 + 2 MSE + L1 of the picture's differences, and the squared error alone."""
        generator = torch.Generator().manual_seed(self.step)
        rows = np.random.default_rng([self.step, 1]).integers(0, len(self.pictures), self.batch)
        pixels = self.pictures.pixels(rows).to(self.device)
        with torch.no_grad():
            latents = self.vae.encode(pixels).latent_dist.mean
        noise = torch.randn(latents.shape, generator=generator).to(self.device)
        drawn = self.vae.decode(latents + _NOISE * noise).sample
        squared = mse_loss(drawn, pixels)
        edges = l1_loss(drawn.diff(dim=-1), pixels.diff(dim=-1))
        edges = edges + l1_loss(drawn.diff(dim=-2), pixels.diff(dim=-2))
        return l1_loss(drawn, pixels) + 2 * squared + 0.5 * edges, squared

    def train_step(self, share: float) -> float:
        """Do one step; ``share`` of the time is spent, 0 to 1. Returns the squared error."""
        warmth = min(1.0, (self.step + 1) / _WARMUP)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * warmth * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
        loss, squared = self.loss()
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.vae.decoder.parameters(), 1.0)
        self.optimizer.step()
        decay = min(0.998, (self.step + 1) / (self.step + 10))
        current = self.vae.state_dict()
        with torch.no_grad():
            for key, value in self.ema.items():
                value.lerp_(current[key], 1 - decay)
        self.step += 1
        return squared.item()

    def run(self, seconds: float) -> None:
        """Train, saving every three minutes."""
        started, saved, running = time.monotonic() - self.spent, time.monotonic(), 0.0
        with Progress() as progress:
            bar = progress.add_task("decoder", total=seconds)
            while self.spent < seconds:
                squared = self.train_step(self.spent / seconds)
                running = squared if running == 0 else 0.98 * running + 0.02 * squared
                self.spent = time.monotonic() - started
                text = f"decoder, {self.step * self.batch} pictures, {psnr(running):.2f} dB"
                progress.update(bar, completed=self.spent, description=text)
                if self.step % 100 == 0:
                    progress.console.print(f"{self.spent:.0f} s: {text}")
                if time.monotonic() - saved > _SAVE_EVERY or self.spent >= seconds:
                    self.save()
                    saved = time.monotonic()


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of the training run")
    parser.add_argument("--seconds", type=float, default=2000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    DecoderTrainer(args.work, args.device, args.batch, args.rate).run(args.seconds)


if __name__ == "__main__":
    main()
