"""Rectified flow: straight lines from latents to noise (Liu et al. 2023)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from idgen.errors import UserError
from idgen.processes.process import NoisedLatents, NoiseProcess, Solver
from idgen.processes.solver_kind import SolverKind
from idgen.processes.variance_preserving import spread_evenly


@dataclass(frozen=True)
class RectifiedFlow(NoiseProcess):
    """x_s = (1 - s) x_0 + s eps, whose velocity eps - x_0 the denoiser predicts.

    Attributes:
        scheduler: Configuration of diffusers' `FlowMatchEulerDiscreteScheduler`, for the solver;
            its `num_train_timesteps` T is what s = 1 is called.
        shift: Moves training times towards noise, s' = shift s / (1 + (shift - 1) s); 1 does not
            (Esser et al. 2024, eq. 23). The solver takes the scheduler's own.
        logit_mean: Mean of the logit of the training times (Esser et al. 2024, eq. 19).
        logit_std: Its standard deviation; 0 draws the times uniformly.
        mu: The logarithm of the solver's shift where its scheduler shifts dynamically, by the size
            of the picture; None elsewhere.
        whole_steps: Whether drawings of n steps visit the shares 1, 1 - 1/n, ..., 1/n before they
            are shifted, as FLUX's do; else as the scheduler has it.
    """

    scheduler: Mapping[str, Any] = field(default_factory=dict)
    shift: float = 1.0
    logit_mean: float = 0.0
    logit_std: float = 1.0
    mu: float | None = None
    whole_steps: bool = False

    def __post_init__(self) -> None:
        """Refuses values that no time follows from.

        Raises:
            ValueError: If shift is not above 0, or logit_std negative.
        """
        if not self.shift > 0 or not self.logit_std >= 0:
            raise ValueError("shift must be above 0 and logit_std 0 or more")

    @property
    def steps(self) -> int:
        """T, which the times of the denoiser count up to."""
        return int(self.scheduler.get("num_train_timesteps", 1000))

    def noised(self, clean: Tensor) -> NoisedLatents:
        """x_s of a batch at times drawn by `sample_shares`, with its velocity."""
        noise = torch.randn_like(clean)
        shares = self.sample_shares(len(clean), clean.device)
        noisy = interpolate(clean, noise, shares)
        return NoisedLatents(noisy, shares * self.steps, noise - clean, None)

    def sample_shares(self, batch: int, device: torch.device) -> Tensor:
        """Draws the share s of noise in each of a batch, `B` in [0, 1], spread evenly over it.

        The logit of s is normal, so that times in the middle, where the velocity is hardest to
        tell, come up more often; then s is shifted.
        """
        return self.shares_at(spread_evenly(batch, device))

    def shares_at(self, places: Tensor) -> Tensor:
        """The shares of noise at quantiles of the training times.

        Args:
            places: Quantiles in [0, 1], of any shape.

        Returns:
            Shares in [0, 1], of the same shape and in the same order.
        """
        if self.logit_std > 0:
            # Not 0 or 1, whose logit is not finite.
            normal = torch.special.ndtri(places.double().clamp(1e-6, 1 - 1e-6))
            places = torch.sigmoid(self.logit_mean + self.logit_std * normal).float()
        return self.shift * places / (1 + (self.shift - 1) * places)

    def solver(
        self, steps: int, stochastic: bool = False, kind: SolverKind | None = None
    ) -> Solver:
        """Euler steps along the velocity."""
        from diffusers import FlowMatchEulerDiscreteScheduler

        if kind not in (None, SolverKind.euler):
            raise UserError(
                f"Sampler.solver: rectified flow is solved by euler, not by {kind.value}; leave it "
                "out"
            )
        if stochastic:
            raise UserError(
                "Sampler.stochastic: rectified flow is solved as an ODE; set it to false"
            )
        scheduler = FlowMatchEulerDiscreteScheduler.from_config(dict(self.scheduler))
        told: dict[str, Any] = {} if self.mu is None else {"mu": self.mu}
        if self.whole_steps:
            told["sigmas"] = [1 - step / steps for step in range(steps)]
        scheduler.set_timesteps(steps, device="cpu", **told)
        return Solver(scheduler)


def interpolate(clean: Tensor, noise: Tensor, shares: Tensor) -> Tensor:
    """x_s = (1 - s) x_0 + s eps (Liu et al. 2023, eq. 1).

    Args:
        clean: x_0, `B C h w`.
        noise: eps, standard normal, `B C h w`.
        shares: s, `B` in [0, 1].

    Returns:
        x_s, `B C h w`.
    """
    s = shares.view(-1, 1, 1, 1)
    return (1 - s) * clean + s * noise
