"""Trains the mini pipeline's autoencoder: 64 x 64 pictures to 16 x 16 latents and back.

Run as ``python -m tools.train_mini.vae --work DIR`` after the data set is drawn, or in two
processes as ``torchrun --nproc-per-node 2 -m tools.train_mini.vae --work DIR``. It writes
``DIR/vae_ema.pt``, the averaged weights, and may be killed and started again at any time.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from idgen.mini.world import SIDE
from tools.command import run
from tools.train_mini.checkpoint import save_atomically
from tools.train_mini.pictures import TrainingPictures, subject_weight
from tools.train_mini.share import Share
from tools.train_mini.start import start_from
from tools.train_mini.timed import TimedSchedule, TimedTraining, cosine_fall, timed_parser

LATENT_CHANNELS = 12
_KL_WEIGHT = 1e-6
# Subjects are where the detail is, and what everything else here is about.
_SUBJECT = 3.0
_CROP = 32


def build_vae() -> Any:
    """An untrained autoencoder, f = 4, with 12 latent channels; 8 lost eyes and textures.

    Encoding is easy and decoding hard, so the encoder has no residual block but its middle's: at
    equal time on a CPU that gives 1.3 dB more than blocks of (16, 32, 48) on both sides.
    """
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 32, 32),
        layers_per_block=0,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=2,
        sample_size=64,
        mid_block_add_attention=False,
    )


def reconstruction_loss(drawn: Tensor, pixels: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """L1 + 2 MSE + L1 of the picture's differences, which keeps outlines sharp; and the MSE alone.

    Args:
        drawn: The decoder's pictures, ``B 3 H W``.
        pixels: The true ones in [-1, 1].
        weight: Of each pixel, ``B 1 H W``, of mean 1; the MSE that is reported has none.
    """
    error = drawn - pixels
    plain = (weight * (error.abs() + 2 * error.square())).mean()
    edges = (weight[..., 1:] * error.diff(dim=-1).abs()).mean()
    edges = edges + (weight[..., 1:, :] * error.diff(dim=-2).abs()).mean()
    return plain + 0.5 * edges, error.square().mean()


def vae_loss(vae: Any, pixels: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The reconstruction loss plus a small KL divergence, and the MSE alone."""
    posterior = vae.encode(pixels).latent_dist
    loss, squared = reconstruction_loss(vae.decode(posterior.sample()).sample, pixels, weight)
    return loss + _KL_WEIGHT * posterior.kl().mean(), squared


def psnr(squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB of pixels in [-1, 1]."""
    return 10 * math.log10(4 / max(squared_error, 1e-12))


def progress_line(name: str, batch: int) -> Callable[[int, float], str]:
    """What to say of steps done and their running squared error."""
    return lambda step, squared: f"{name}, {step * batch} pictures, {psnr(squared):.2f} dB"


def crop_subjects(pictures: Tensor, side: int) -> Tensor:
    """Cut a square around a random point of each subject.

    Args:
        pictures: Pixels and mask, ``B 4 H W``.
        side: Of the squares.

    Returns:
        ``B 4 side side``.
    """
    height, width = pictures.shape[-2:]
    cut = []
    for picture in pictures:
        inside = picture[3].nonzero()
        y, x = inside[torch.randint(len(inside), (1,))[0]].tolist()
        top = min(max(y - side // 2, 0), height - side)
        left = min(max(x - side // 2, 0), width - side)
        cut.append(picture[:, top : top + side, left : left + side])
    return torch.stack(cut)


def train(
    work: Path,
    schedule: TimedSchedule,
    batch: int,
    device: str,
    share: Share,
    crop_steps: int,
    start: Path | None = None,
) -> None:
    """Train the autoencoder; ``vae.ckpt`` and ``vae_ema.pt`` are written to ``work``.

    Args:
        work: Folder of the training run.
        schedule: Time and rates.
        batch: Pictures a step and process.
        device: Torch device.
        share: This process among those that train together.
        crop_steps: How many steps see squares around subjects, several times as many, before whole
            pictures follow: most of a picture is easy.
        start: Folder of an autoencoder whose weights to begin with.
    """
    torch.manual_seed(0)
    pictures, vae = TrainingPictures.read(work), build_vae().to(device)
    if start is not None:
        start_from(vae, start)

    def loss_of_step(step: int) -> tuple[Tensor, Tensor]:
        torch.manual_seed(share.seed(step))  # also for the posterior's noise
        cut = step < crop_steps
        rows = share.rows(step, len(pictures), batch * (SIDE // _CROP) ** 2 if cut else batch)
        both = torch.cat([pictures.pixels(rows), pictures.mask(rows)], dim=1)
        both = crop_subjects(both, _CROP) if cut else both
        both = (both.flip(-1) if step % 2 else both).to(device)
        return vae_loss(vae, both[:, :3], subject_weight(both[:, 3:], _SUBJECT))

    training = TimedTraining(vae, loss_of_step, schedule, work / "vae.ckpt", share)
    training.run(progress_line("autoencoder", batch * share.world), on_save=lambda: None)
    if share.rank == 0:
        save_atomically(training.ema, work / "vae_ema.pt")


def main() -> None:
    """Read the command line and train."""
    parser = timed_parser("train the mini pipeline's autoencoder", seconds=1500, batch=8, rate=2e-3)
    parser.add_argument("--crop-steps", type=int, default=2600, help="steps on parts of pictures")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    schedule = TimedSchedule(args.seconds, args.rate, cosine_fall)
    train(
        args.work,
        schedule,
        args.batch,
        args.device,
        Share.from_environment(),
        args.crop_steps,
        args.begin_with,
    )


if __name__ == "__main__":
    run(main)
