"""Noising, targets and loss weights over time: pure functions of a noise schedule."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import torch
from torch import Tensor


class NoisedLatents(NamedTuple):
    """Latents at times of their noise process, and what a denoiser is to make of them.

    Attributes:
        noisy: x_t, `B C h w`.
        times: t, `B`, as the denoiser takes them.
        target: What it is to predict, `B C h w`.
        weight: Weights of the error over time, `B`, or None for 1.
    """

    noisy: Tensor
    times: Tensor
    target: Tensor
    weight: Tensor | None


class NoiseProcess(ABC):
    """How a backbone's family takes latents to noise, which training need not know."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """The most steps that drawing can take."""

    @abstractmethod
    def noised(self, clean: Tensor, min_snr_gamma: float | None = None) -> NoisedLatents:
        """Draws noise and times for a batch.

        Args:
            clean: x_0, scaled latents, `B C h w`.
            min_snr_gamma: Gamma of Min-SNR weights over time; None weighs all times alike.
        """


class Prediction(Enum):
    """What a denoiser was trained to predict."""

    epsilon = "epsilon"
    v_prediction = "v_prediction"
    sample = "sample"


@dataclass(frozen=True)
class NoiseSchedule(NoiseProcess):
    """A variance-preserving discrete schedule, as DDPM (Ho et al. 2020) defines it.

    Attributes:
        alphas_cumprod: The share of signal variance left at each time, `T`, falling in (0, 1].
        prediction: What the denoiser predicts.
    """

    alphas_cumprod: Tensor
    prediction: Prediction

    @property
    def steps(self) -> int:
        """T."""
        return len(self.alphas_cumprod)

    def noised(self, clean: Tensor, min_snr_gamma: float | None = None) -> NoisedLatents:
        """x_t of a batch at times drawn by `sample_times`, with its target and weights.

        Args:
            clean: x_0, scaled latents, `B C h w`.
            min_snr_gamma: Gamma of Min-SNR weights over time; None weighs all times alike.
        """
        noise = torch.randn_like(clean)
        times = self.sample_times(len(clean), clean.device)
        weight = None if min_snr_gamma is None else min_snr_weight(self, times, min_snr_gamma)
        noisy = add_noise(self, clean, noise, times)
        return NoisedLatents(noisy, times, training_target(self, clean, noise, times), weight)

    def sample_times(self, batch: int, device: torch.device) -> Tensor:
        """Draws times from 0 to T - 1, `B` int64: each uniform, a batch spread evenly.

        t_i = T ((u + i / B) mod 1) with one u in [0, 1): the loss differs more between times than
        between photos, so that its mean over a batch varies less (Kingma et al. 2021).
        """
        shift = torch.rand(1, device=device)
        places = (shift + torch.arange(batch, device=device) / batch) % 1
        return (places * self.steps).long().clamp(max=self.steps - 1)

    def signal_and_noise(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """The scales sqrt(alpha_bar_t) and sqrt(1 - alpha_bar_t), each `B 1 1 1` in [0, 1]."""
        alpha_bar = self.alphas_cumprod.to(times.device)[times].view(-1, 1, 1, 1)
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


def add_noise(schedule: NoiseSchedule, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    """x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps (Ho et al. 2020, eq. 4).

    Args:
        schedule: The backbone's schedule.
        clean: x_0, scaled latents, `B C h w`.
        noise: eps, standard normal, `B C h w`.
        times: t, `B` int64.

    Returns:
        x_t, `B C h w`.
    """
    signal, sigma = schedule.signal_and_noise(times)
    return signal * clean + sigma * noise


def training_target(schedule: NoiseSchedule, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    """What the denoiser is to predict at time t, `B C h w`.

    The noise, the clean latents, or v = sqrt(alpha_bar_t) eps - sqrt(1 - alpha_bar_t) x_0
    (Salimans & Ho 2022), as the schedule says.
    """
    match schedule.prediction:
        case Prediction.epsilon:
            return noise
        case Prediction.sample:
            return clean
        case Prediction.v_prediction:
            signal, sigma = schedule.signal_and_noise(times)
            return signal * noise - sigma * clean


def min_snr_weight(schedule: NoiseSchedule, times: Tensor, gamma: float) -> Tensor:
    """Loss weights over time of Min-SNR (Hang et al. 2023), `B`.

    With SNR_t = alpha_bar_t / (1 - alpha_bar_t): min(SNR, gamma) on the clean latents' error,
    which is divided by SNR for a noise prediction and by SNR + 1 for v.
    """
    alpha_bar = schedule.alphas_cumprod.to(times.device)[times]
    snr = alpha_bar / (1 - alpha_bar).clamp(min=1e-8)
    clipped = snr.clamp(max=gamma)
    match schedule.prediction:
        case Prediction.epsilon:
            return clipped / snr.clamp(min=1e-8)
        case Prediction.v_prediction:
            return clipped / (snr + 1)
        case Prediction.sample:
            return clipped


def sample_latents(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Draws from the autoencoder's Gaussian posterior N(mean, exp(log_variance)), `B C h w`."""
    return mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
