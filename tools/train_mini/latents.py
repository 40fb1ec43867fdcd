"""Latents of the drawn pictures, encoded once and kept on disk."""

import json
import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from idgen.errors import UserError
from idgen.files import atomic_write
from idgen.fingerprint import file_digest
from tools.train_mini.needed import made_by
from tools.train_mini.pictures import TrainingPictures
from tools.train_mini.share import Share
from tools.train_mini.vae import build_vae

_MEASURED = 512


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
