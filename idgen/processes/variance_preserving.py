"""The variance-preserving process of DDPM, for noise, v and sample prediction."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import torch
from torch import Tensor

from idgen.errors import UserError
from idgen.processes.process import NoisedLatents, NoiseProcess, Solver
from idgen.processes.solver_kind import SolverKind

_SCHEDULERS = {
    SolverKind.dpm: "DPMSolverMultistepScheduler",
    SolverKind.ddim: "DDIMScheduler",
    SolverKind.euler: "EulerDiscreteScheduler",
    SolverKind.heun: "HeunDiscreteScheduler",
    SolverKind.unipc: "UniPCMultistepScheduler",
}


class Prediction(Enum):
    """What a denoiser was trained to predict."""

    epsilon = "epsilon"
    v_prediction = "v_prediction"
    sample = "sample"


@dataclass(frozen=True)
class VariancePreserving(NoiseProcess):
    """A discrete schedule, as DDPM (Ho et al. 2020) defines it.

    Attributes:
        alphas_cumprod: The share of signal variance left at each time, `T`, falling in (0, 1].
        prediction: What the denoiser predicts.
        scheduler: The scheduler's configuration, for the solver.
        min_snr_gamma: Gamma of Min-SNR weights over time; None weighs all times alike.
    """

    alphas_cumprod: Tensor
    prediction: Prediction
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    min_snr_gamma: float | None = None
    # Of alphas_cumprod, by device: each step looks into it.
    _copies: dict[torch.device, Tensor] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Refuses a gamma that is no weight.

        Raises:
            ValueError: If it is not finite and above 0.
        """
        gamma = self.min_snr_gamma
        if gamma is not None and not (gamma > 0 and math.isfinite(gamma)):
            raise ValueError("min_snr_gamma must be finite and above 0, or null")

    @property
    def steps(self) -> int:
        """T."""
        return len(self.alphas_cumprod)

    def noised(self, clean: Tensor) -> NoisedLatents:
        """x_t of a batch at times drawn by `sample_times`, with its target and weights."""
        noise = torch.randn_like(clean)
        times = self.sample_times(len(clean), clean.device)
        gamma = self.min_snr_gamma
        weight = None if gamma is None else min_snr_weight(self, times, gamma)
        noisy = add_noise(self, clean, noise, times)
        return NoisedLatents(noisy, times, training_target(self, clean, noise, times), weight)

    def sample_times(self, batch: int, device: torch.device) -> Tensor:
        """Draws times from 0 to T - 1, `B` int64: each uniform, a batch spread evenly.

        t_i = T ((u + i / B) mod 1) with one u in [0, 1): the loss differs more between times than
        between photos, so that its mean over a batch varies less (Kingma et al. 2021).
        """
        return (spread_evenly(batch, device) * self.steps).long().clamp(max=self.steps - 1)

    def signal_shares(self, times: Tensor) -> Tensor:
        """alpha_bar_t, `B` in (0, 1]; times `B` int64."""
        device = times.device
        if device == self.alphas_cumprod.device:
            return self.alphas_cumprod[times]
        if device not in self._copies:
            with torch.inference_mode(False):
                self._copies[device] = self.alphas_cumprod.to(device)
        return self._copies[device][times]

    def signal_and_noise(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """The scales sqrt(alpha_bar_t) and sqrt(1 - alpha_bar_t), each `B 1 1 1` in [0, 1]."""
        alpha_bar = self.signal_shares(times).view(-1, 1, 1, 1)
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()

    def solver(
        self, steps: int, stochastic: bool = False, kind: SolverKind | None = None
    ) -> Solver:
        """DPM-Solver++ (Lu et al. 2022) if nothing else is asked for.

        It solves the ODE or the SDE (Song et al. 2021), and so does DDIM, with eta 0 or 1; the
        others solve the ODE alone.
        """
        import diffusers

        kind = kind or SolverKind.dpm
        if stochastic and kind not in (SolverKind.dpm, SolverKind.ddim):
            raise UserError(
                f"Sampler.solver: {kind.value} solves the ODE alone; set stochastic to false, or "
                "take dpm or ddim"
            )
        # Latents are not within [-1, 1], to which some schedulers clip by default.
        name, settings = _SCHEDULERS[kind], {**self.scheduler, "clip_sample": False}
        if kind is SolverKind.dpm:
            settings["algorithm_type"] = "sde-dpmsolver++" if stochastic else "dpmsolver++"
        scheduler = getattr(diffusers, name).from_config(settings)
        scheduler.set_timesteps(steps, device="cpu")
        told = {"eta": float(stochastic)} if kind is SolverKind.ddim else {}
        return Solver(scheduler, stochastic, **told)


def spread_evenly(batch: int, device: torch.device) -> Tensor:
    """Places (u + i / B) mod 1 with one u in [0, 1), `B`: each uniform, together spread evenly."""
    shift = torch.rand(1, device=device)
    return (shift + torch.arange(batch, device=device) / batch) % 1


def add_noise(process: VariancePreserving, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    """x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps (Ho et al. 2020, eq. 4).

    Args:
        process: The backbone's.
        clean: x_0, scaled latents, `B C h w`.
        noise: eps, standard normal, `B C h w`.
        times: t, `B` int64.

    Returns:
        x_t, `B C h w`.
    """
    signal, sigma = process.signal_and_noise(times)
    return signal * clean + sigma * noise


def training_target(
    process: VariancePreserving, clean: Tensor, noise: Tensor, times: Tensor
) -> Tensor:
    """What the denoiser is to predict at time t, `B C h w`.

    The noise, the clean latents, or v = sqrt(alpha_bar_t) eps - sqrt(1 - alpha_bar_t) x_0
    (Salimans & Ho 2022), as the process says.
    """
    match process.prediction:
        case Prediction.epsilon:
            return noise
        case Prediction.sample:
            return clean
        case Prediction.v_prediction:
            signal, sigma = process.signal_and_noise(times)
            return signal * noise - sigma * clean


def min_snr_weight(process: VariancePreserving, times: Tensor, gamma: float) -> Tensor:
    """Loss weights over time of Min-SNR (Hang et al. 2023), `B`.

    With SNR_t = alpha_bar_t / (1 - alpha_bar_t): min(SNR, gamma) on the clean latents' error,
    which is divided by SNR for a noise prediction and by SNR + 1 for v.
    """
    alpha_bar = process.signal_shares(times)
    snr = alpha_bar / (1 - alpha_bar).clamp(min=1e-8)
    clipped = snr.clamp(max=gamma)
    match process.prediction:
        case Prediction.epsilon:
            return clipped / snr.clamp(min=1e-8)
        case Prediction.v_prediction:
            return clipped / (snr + 1)
        case Prediction.sample:
            return clipped
