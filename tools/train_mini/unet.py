"""Trains the mini pipeline's U-Net on the latents of the drawn pictures and their captions.

Run as ``python -m tools.train_mini.unet --work DIR``, or in two processes as
``torchrun --nproc-per-node 2 -m tools.train_mini.unet --work DIR``, once the autoencoder
(``DIR/vae_ema.pt``) and the text encoder (``DIR/text_encoder``) are there;
``--wait`` waits for them (for ``FINAL`` in the latter). It may be killed and started again at any
time. ``DIR/unet.ckpt`` holds the running average of the weights as ``ema``.
"""

import json
import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d
from transformers import CLIPTextModel

from idgen.errors import UserError
from idgen.files import atomic_write
from idgen.fingerprint import file_digest
from idgen.mini.world import SIDE
from idgen.processes import Prediction, VariancePreserving
from idgen.processes.variance_preserving import add_noise, training_target
from tools.command import run
from tools.train_mini.needed import made_by
from tools.train_mini.pictures import (
    TrainingPictures,
    noisy_caption,
    subject_weight,
    training_wordings,
)
from tools.train_mini.share import Share
from tools.train_mini.start import start_from
from tools.train_mini.timed import TimedSchedule, TimedTraining, late_fall, timed_parser
from tools.train_mini.tokenizer import CONTEXT, read_tokenizer
from tools.train_mini.vae import LATENT_CHANNELS, build_vae

_NO_CAPTION = 0.1
_GAMMA = 5.0
# Scenes are learnt long before subjects are.
_SUBJECT = 6.0
_MIDDLE = (100, 650)
_MEASURED = 512


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


class Latents:
    """Scaled latents of the training pictures, each encoded when it is first asked for.

    Args:
        work: Folder of the training run; they are kept in ``latents-RANK-of-WORLD.npy``.
        pictures: The pictures.
        device: Where the autoencoder runs.
        share: This process, which fills a file of its own with its own pictures' latents.

    Raises:
        UserError: If there is no autoencoder, or what is in ``work`` was made of another, or of
            another number of pictures.
    """

    def __init__(self, work: Path, pictures: TrainingPictures, device: str, share: Share) -> None:
        self._pictures, self._device = pictures, device
        self._vae = build_vae().to(device).eval()
        weights = made_by("vae", work, "vae_ema.pt")
        self._vae.load_state_dict(torch.load(weights, map_location=device, weights_only=True))
        name = f"latents-{share.rank}-of-{share.world}"
        path, self._filled_path = work / f"{name}.npy", work / f"{name}.filled.npy"
        shape = (len(pictures), self._vae.config.latent_channels, 16, 16)
        if self._filled_path.exists():
            self._store = np.lib.format.open_memmap(path, mode="r+")
            if self._store.shape != shape:
                raise UserError(
                    f"{path} holds latents of shape {self._store.shape}, not {shape}; remove it "
                    f"and {self._filled_path.name}, or give --pictures {len(self._store)}"
                )
            self._filled: NDArray[np.bool_] = np.load(self._filled_path)
        else:
            self._store = np.lib.format.open_memmap(path, "w+", np.float16, shape)
            self._filled = np.zeros(len(pictures), bool)
        self.scale = self._measured_scale(work / "vae_scale.json", file_digest(weights))

    def _measured_scale(self, path: Path, autoencoder: str) -> float:
        """The factor that gives latents a standard deviation of 1, noted with whose they are."""
        if not path.exists():
            latents = self._encode(np.arange(min(_MEASURED, len(self._pictures))))
            text = json.dumps(
                {"scaling_factor": 1 / float(latents.std()), "autoencoder": autoencoder}
            )
            atomic_write(path, text.encode())
        noted = json.loads(path.read_text())
        if noted.get("autoencoder", autoencoder) != autoencoder:
            raise UserError(
                f"{path.parent / 'vae_ema.pt'} was trained on since its latents were stored; "
                f"remove {path}, unet.ckpt and latents-* beside it, and the U-Net begins anew"
            )
        return float(noted["scaling_factor"])

    @torch.no_grad()
    def _encode(self, rows: NDArray[np.int64]) -> Tensor:
        pixels = self._pictures.pixels(rows).to(self._device)
        mean: Tensor = self._vae.encode(pixels).latent_dist.mean
        return mean

    def __call__(self, rows: NDArray[np.int64]) -> Tensor:
        """Latents of some pictures, `B C 16 16`, with a standard deviation of about 1."""
        new = np.unique(rows[~self._filled[rows]])
        if len(new):
            self._store[new] = (self._encode(new) * self.scale).half().cpu().numpy()
            self._filled[new] = True
        return torch.from_numpy(self._store[rows]).float().to(self._device)

    def save(self) -> None:
        """Note which latents are on disk."""
        self._store.flush()
        temporary = self._filled_path.with_suffix(".tmp.npy")
        np.save(temporary, self._filled)
        os.replace(temporary, self._filled_path)


class Denoising:
    """The U-Net's task: latents and captions of the pictures, noised, and the loss on them.

    Args:
        work: Folder of the training run.
        unet: The U-Net.
        device: Torch device.
        batch: Pictures a step.
        count: How many of the pictures to train on.
        share: This process among those that train together.
    """

    def __init__(
        self, work: Path, unet: Any, device: str, batch: int, count: int, share: Share
    ) -> None:
        self._share = share
        self._unet, self._device, self._batch = unet, device, batch
        self._pictures = TrainingPictures.read(work).first(count)
        self._wordings = training_wordings(len(self._pictures))
        self.latents = Latents(work, self._pictures, device, share)
        self._tokenizer = read_tokenizer(work)
        folder = made_by("clip encoder", work, "text_encoder/FINAL").parent
        text = CLIPTextModel.from_pretrained(folder, dtype=torch.float32)
        self._text = text.to(device).eval().requires_grad_(False)
        self._schedule = VariancePreserving(
            build_scheduler().alphas_cumprod.to(device), Prediction.v_prediction
        )

    @torch.no_grad()
    def _conditions(self, rows: NDArray[np.int64], rng: random.Random) -> Tensor:
        """Text states of one caption of each picture, `B 32 128`; some have none."""
        captions = [
            "" if rng.random() < _NO_CAPTION else noisy_caption(self._wordings[row], rng)
            for row in rows
        ]
        ids = self._tokenizer(
            captions, padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt"
        ).input_ids
        states: Tensor = self._text(ids.to(self._device)).last_hidden_state
        return states

    def loss(self, step: int) -> tuple[Tensor, Tensor]:
        """The loss of one batch, twice; all that is random in it follows from the step's number.

        MSE of v (Salimans & Ho 2022), weighted by min(SNR + 1, gamma) / (SNR + 1): as in Min-SNR
        (Hang et al. 2023) nearly clean latents count little, but the noisiest, where class and
        scene are decided, keep their full weight. Latents of the subject count several times.
        """
        rows = self._share.rows(step, len(self._pictures), self._batch)
        seed = self._share.seed(step)
        generator = torch.Generator().manual_seed(seed)
        clean = self.latents(rows)
        states = self._conditions(rows, random.Random(seed))
        noise = torch.randn(clean.shape, generator=generator).to(self._device)
        # One time from each of equal shares: their loss differs far more than the pictures'.
        places = torch.arange(self._batch) + torch.rand(self._batch, generator=generator)
        times = times_at(places / self._batch).to(self._device)
        noisy = add_noise(self._schedule, clean, noise, times)
        target = training_target(self._schedule, clean, noise, times)
        predicted = self._unet(noisy, times, states).sample
        noise_share = 1 - self._schedule.alphas_cumprod[times]
        weights = (_GAMMA * noise_share).clamp(max=1)  # SNR + 1 = 1 / noise_share
        squared = (predicted - target).square()
        where = avg_pool2d(self._pictures.mask(rows), SIDE // clean.shape[-1]).to(self._device)
        loss = (weights * (subject_weight(where, _SUBJECT) * squared).mean((1, 2, 3))).mean()
        return loss, (weights * squared.mean((1, 2, 3))).mean().detach()


def train(
    work: Path,
    schedule: TimedSchedule,
    batch: int,
    count: int,
    device: str,
    share: Share,
    start: Path | None = None,
) -> None:
    """Train the U-Net; ``unet.ckpt`` and the latents are written to ``work``.

    Args:
        work: Folder of the training run.
        schedule: Time and rates.
        batch: Pictures a step and process.
        count: How many of the pictures to train on.
        device: Torch device.
        share: This process among those that train together.
        start: Folder of a U-Net whose weights to begin with.
    """
    torch.manual_seed(0)
    unet = build_unet().to(device)
    if start is not None:
        start_from(unet, start)
    denoising = Denoising(work, unet, device, batch, count, share)
    training = TimedTraining(unet, denoising.loss, schedule, work / "unet.ckpt", share)
    training.run(
        lambda step, loss: f"U-Net, {step * batch * share.world} samples, loss {loss:.4f}",
        on_save=denoising.latents.save,
    )


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
    train(args.work, schedule, args.batch, args.pictures, args.device, share, args.begin_with)


if __name__ == "__main__":
    run(main)
