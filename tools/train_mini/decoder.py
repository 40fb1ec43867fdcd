"""Trains the autoencoder's decoder on, its encoder frozen, while the U-Net learns the latents.

Run as ``python -m tools.train_mini.decoder --work DIR`` once ``DIR/vae_ema.pt`` is there. A little
noise on the latents makes the decoder forgive the U-Net small errors. The autoencoder with the
better decoder is written to ``DIR/vae_tuned.pt`` on the way and at the end.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from tools.train_mini.checkpoint import save_atomically
from tools.train_mini.pictures import TrainingPictures
from tools.train_mini.share import Share
from tools.train_mini.timed import TimedSchedule, TimedTraining, cosine_fall
from tools.train_mini.vae import build_vae, progress_line, reconstruction_loss

# Standard deviation of the noise, where that of the latents is about 1.
_NOISE = 0.04
_ENCODER = ("encoder.", "quant_conv.")


def train(work: Path, schedule: TimedSchedule, batch: int, device: str, share: Share) -> None:
    """Train the decoder; ``decoder.ckpt`` and ``vae_tuned.pt`` are written to ``work``.

    Args:
        work: Folder of the training run.
        schedule: Time and rates.
        batch: Pictures a step and process.
        device: Torch device.
        share: This process among those that train together.
    """
    pictures, vae = TrainingPictures.read(work), build_vae().to(device)
    vae.load_state_dict(torch.load(work / "vae_ema.pt", map_location=device, weights_only=True))
    for name, weight in vae.named_parameters():
        weight.requires_grad_(not name.startswith(_ENCODER))

    def loss_of_step(step: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(share.seed(step))
        rows = share.rows(step, len(pictures), batch, 1)
        pixels = pictures.pixels(rows).to(device)
        with torch.no_grad():
            latents = vae.encode(pixels).latent_dist.mean
        noise = torch.randn(latents.shape, generator=generator).to(device)
        return reconstruction_loss(vae.decode(latents + _NOISE * noise).sample, pixels)

    def save() -> None:
        if share.rank == 0:
            save_atomically(training.ema, work / "vae_tuned.pt")

    training = TimedTraining(vae, loss_of_step, schedule, work / "decoder.ckpt", share)
    training.run(progress_line("decoder", batch * share.world), on_save=save)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description="train the mini pipeline's decoder on")
    parser.add_argument("--work", type=Path, required=True, help="folder of the training run")
    parser.add_argument("--seconds", type=float, default=2000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    schedule = TimedSchedule(args.seconds, args.rate, cosine_fall)
    train(args.work, schedule, args.batch, args.device, Share.from_environment())


if __name__ == "__main__":
    main()
