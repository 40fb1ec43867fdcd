"""Latents: drawn from the autoencoder's posterior, the autoencoder, and diffusers' KL one."""

from typing import Any, Protocol

import torch
from torch import Tensor


def sample_latents(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Draws from the autoencoder's Gaussian posterior N(mean, exp(log_variance)), `B C h w`."""
    return mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)


class Autoencoder(Protocol):
    """Pixels to latents and back."""

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels `B 3 H W` in [-1, 1] to the posterior's mean and log-variance, `B C h w`."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Unscaled latents `B C h w` to pixels `B 3 H W`, about [-1, 1]."""
        ...


class KLAutoencoder:
    """diffusers' AutoencoderKL behind the Autoencoder protocol.

    Always in float32, whatever the trainer's precision: half precision overflows in SD's.
    """

    def __init__(self, vae: Any) -> None:
        """Takes the network.

        Args:
            vae: diffusers' AutoencoderKL in float32, on its device.
        """
        self._vae = vae

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels `B 3 H W` in [-1, 1] to the posterior's mean and log-variance, `B C h w`."""
        with torch.autocast(pixels.device.type, enabled=False):
            posterior = self._vae.encode(pixels.float()).latent_dist
        return posterior.mean, posterior.logvar

    def decode(self, latents: Tensor) -> Tensor:
        """Unscaled latents `B C h w` to pixels `B 3 H W`, about [-1, 1]."""
        with torch.autocast(latents.device.type, enabled=False):
            pixels: Tensor = self._vae.decode(latents.float()).sample
        return pixels
