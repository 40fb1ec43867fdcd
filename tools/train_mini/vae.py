"""Trains the mini pipeline's autoencoder: 64 x 64 pictures to 16 x 16 latents and back.

Run as ``python -m tools.train_mini.vae --work DIR`` after the data set is drawn, or in two
processes as ``torchrun --nproc-per-node 2 -m tools.train_mini.vae --work DIR``. It writes
``DIR/vae_ema.pt``, the averaged weights, and may be killed and started again at any time.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss

from tools.train_mini.checkpoint import save_atomically
from tools.train_mini.pictures import TrainingPictures
from tools.train_mini.share import Share
from tools.train_mini.timed import TimedSchedule, TimedTraining, cosine_fall

_KL_WEIGHT = 1e-6


def build_vae() -> Any:
    """An untrained autoencoder, f = 4, with 8 latent channels.

    Encoding is easy and decoding hard, so the encoder has no residual block but its middle's: at
    equal time on a CPU that gives 1.3 dB more than blocks of (16, 32, 48) on both sides.
    """
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 32, 32),
        layers_per_block=0,
        latent_channels=8,
        norm_num_groups=2,
        sample_size=64,
        mid_block_add_attention=False,
    )


def reconstruction_loss(drawn: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """L1 + 2 MSE + L1 of the picture's differences, which keeps outlines sharp; and the MSE alone.

    Args:
        drawn: The decoder's pictures, ``B 3 H W``.
        pixels: The true ones in [-1, 1].
    """
    squared = mse_loss(drawn, pixels)
    edges = l1_loss(drawn.diff(dim=-1), pixels.diff(dim=-1))
    edges = edges + l1_loss(drawn.diff(dim=-2), pixels.diff(dim=-2))
    return l1_loss(drawn, pixels) + 2 * squared + 0.5 * edges, squared


def vae_loss(vae: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """The reconstruction loss plus a small KL divergence, and the MSE alone."""
    posterior = vae.encode(pixels).latent_dist
    loss, squared = reconstruction_loss(vae.decode(posterior.sample()).sample, pixels)
    return loss + _KL_WEIGHT * posterior.kl().mean(), squared


def psnr(squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB of pixels in [-1, 1]."""
    return 10 * math.log10(4 / max(squared_error, 1e-12))


def progress_line(name: str, batch: int) -> Callable[[int, float], str]:
    """What to say of steps done and their running squared error."""
    return lambda step, squared: f"{name}, {step * batch} pictures, {psnr(squared):.2f} dB"


def train(work: Path, schedule: TimedSchedule, batch: int, device: str, share: Share) -> None:
    """Train the autoencoder; ``vae.ckpt`` and ``vae_ema.pt`` are written to ``work``.

    Args:
        work: Folder of the training run.
        schedule: Time and rates.
        batch: Pictures a step and process.
        device: Torch device.
        share: This process among those that train together.
    """
    torch.manual_seed(0)
    pictures, vae = TrainingPictures.read(work), build_vae().to(device)

    def loss_of_step(step: int) -> tuple[Tensor, Tensor]:
        torch.manual_seed(share.seed(step))  # for the posterior's noise
        rows = share.rows(step, len(pictures), batch)
        pixels = pictures.pixels(rows).to(device)
        return vae_loss(vae, pixels.flip(-1) if step % 2 else pixels)

    training = TimedTraining(vae, loss_of_step, schedule, work / "vae.ckpt", share)
    training.run(progress_line("autoencoder", batch * share.world), on_save=lambda: None)
    if share.rank == 0:
        save_atomically(training.ema, work / "vae_ema.pt")


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description="train the mini pipeline's autoencoder")
    parser.add_argument("--work", type=Path, required=True, help="folder of the training run")
    parser.add_argument("--seconds", type=float, default=1500)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    schedule = TimedSchedule(args.seconds, args.rate, cosine_fall)
    train(args.work, schedule, args.batch, args.device, Share.from_environment())


if __name__ == "__main__":
    main()
