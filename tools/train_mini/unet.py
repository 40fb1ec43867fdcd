"""Trains the mini pipeline's U-Net on the latents of the drawn pictures and their captions.

Run as ``python -m tools.train_mini.unet --work DIR``, or in two processes as
``torchrun --nproc-per-node 2 -m tools.train_mini.unet --work DIR``, once the autoencoder
(``DIR/vae_ema.pt``) and the text encoder (``DIR/text_encoder``) are there;
``--wait`` waits for them (for ``FINAL`` in the latter). It may be killed and started again at any
time. ``DIR/unet.ckpt`` holds the running average of the weights as ``ema``.
"""

import time
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel

from idgen.processes import Prediction, VariancePreserving
from idgen.processes.variance_preserving import add_noise, training_target
from tools.command import run
from tools.train_mini.captioned_latents import CaptionedLatents
from tools.train_mini.denoiser import train_denoiser
from tools.train_mini.needed import made_by
from tools.train_mini.share import Share
from tools.train_mini.timed import TimedSchedule, late_fall, timed_parser
from tools.train_mini.vae import LATENT_CHANNELS

_GAMMA = 5.0
_MIDDLE = (100, 650)


def build_unet() -> Any:
    """An untrained U-Net of 4.2 million parameters for 16 x 16 latents of 12 channels."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(32, 64, 128),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=128,
        attention_head_dim=4,
        norm_num_groups=16,
        use_linear_projection=True,
    )


def build_scheduler() -> Any:
    """The noise schedule: SD's, but down to less signal at its end, as small latents need."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.02,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="trailing",
    )


def times_at(places: Tensor) -> Tensor:
    """Times at which to train, more often where there is something to learn.

    Above 650 hardly anything of the picture is left to see (its variance is under 5 %), below 100
    hardly any noise; what a subject looks like is decided between.

    Args:
        places: Quantiles in [0, 1), of any shape.

    Returns:
        Whole numbers from 0 to 999, in order, of the same shape: three quarters from 100 to 650.
    """
    rare = 0.25 / (_MIDDLE[0] + 1000 - _MIDDLE[1])  # how many places a time takes up
    first = rare * _MIDDLE[0]
    low = places / rare
    middle = _MIDDLE[0] + (places - first) / 0.75 * (_MIDDLE[1] - _MIDDLE[0])
    high = _MIDDLE[1] + (places - first - 0.75) / rare
    times = torch.where(places < first, low, torch.where(places < first + 0.75, middle, high))
    return times.long().clamp(max=999)


class Denoising:
    """The U-Net's task: latents and captions of the pictures, noised, and the loss on them.

    Args:
        work: Folder of the training run.
        unet: The U-Net.
        device: Torch device.
        data: What it is trained on.
    """

    def __init__(self, work: Path, unet: Any, device: str, data: CaptionedLatents) -> None:
        self._unet, self._data = unet, data
        folder = made_by("clip encoder", work, "text_encoder/FINAL").parent
        text = CLIPTextModel.from_pretrained(folder, dtype=torch.float32)
        self._text = text.to(device).eval().requires_grad_(False)
        self._schedule = VariancePreserving(
            build_scheduler().alphas_cumprod.to(device), Prediction.v_prediction
        )

    def loss(self, step: int) -> tuple[Tensor, Tensor]:
        """The loss of one batch, twice; all that is random in it follows from the step's number.

        MSE of v (Salimans & Ho 2022), weighted by min(SNR + 1, gamma) / (SNR + 1): as in Min-SNR
        (Hang et al. 2023) nearly clean latents count little, but the noisiest, where class and
        scene are decided, keep their full weight. Latents of the subject count several times.
        """
        batch = self._data.at(step)
        with torch.no_grad():
            states = self._text(batch.ids).last_hidden_state
        times = times_at(batch.places)
        noisy = add_noise(self._schedule, batch.clean, batch.noise, times)
        target = training_target(self._schedule, batch.clean, batch.noise, times)
        predicted = self._unet(noisy, times, states).sample
        noise_share = 1 - self._schedule.alphas_cumprod[times]
        weights = (_GAMMA * noise_share).clamp(max=1)  # SNR + 1 = 1 / noise_share
        squared = (predicted - target).square()
        loss = (weights * (batch.weights * squared).mean((1, 2, 3))).mean()
        return loss, (weights * squared.mean((1, 2, 3))).mean().detach()


def main() -> None:
    """Read the command line and train."""
    parser = timed_parser("train the mini pipeline's U-Net", seconds=18600, batch=16, rate=1e-3)
    parser.add_argument("--pictures", type=int, default=60_000, help="the first so many")
    parser.add_argument("--wait", action="store_true", help="wait for what it needs")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    needed = (args.work / "vae_ema.pt", args.work / "text_encoder" / "FINAL")
    while args.wait and not all(path.exists() for path in needed):
        time.sleep(2)
    schedule = TimedSchedule(args.seconds, args.rate, late_fall, weight_decay=0.01)
    share = Share.from_environment()
    train_denoiser(
        "unet",
        build_unet,
        Denoising,
        args.work,
        schedule,
        args.batch,
        args.pictures,
        args.device,
        share,
        args.begin_with,
    )


if __name__ == "__main__":
    run(main)
