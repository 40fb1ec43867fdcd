"""Every way of solving, on a process whose denoiser is known exactly."""

import pytest
import torch
from torch import Tensor

from idgen.errors import UserError
from idgen.processes import Prediction, RectifiedFlow, SolverKind, VariancePreserving

CPU = torch.device("cpu")
ALPHAS = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0)
CONFIG = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "epsilon",
    "num_train_timesteps": 1000,
    # As DDPM's scheduler has it by default; latents are not to be clipped.
    "clip_sample": True,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}


def solved(kind: SolverKind | None, stochastic: bool = False, steps: int = 50) -> list[Tensor]:
    """The way that a solver goes when every picture is x_0 = 2, so that its noise is known."""
    process = VariancePreserving(ALPHAS, Prediction.epsilon, CONFIG)
    solver = process.solver(steps, stochastic, kind)
    generator = torch.Generator().manual_seed(0)
    latents = solver.start(torch.randn(4, 4, 8, 8, generator=generator))
    way = [latents]
    for time in solver.times:
        seen = solver.scaled(latents, time)
        alpha = ALPHAS[int(time)]
        noise = (seen - alpha.sqrt() * 2) / (1 - alpha).sqrt()
        fresh = torch.randn(latents.shape, generator=generator) if stochastic else None
        latents = solver.step(noise, time, latents, fresh)
        way.append(latents)
    return way


@pytest.mark.parametrize("kind", [None, *SolverKind])
def test_each_solver_gets_to_the_picture(kind: SolverKind | None) -> None:
    assert (solved(kind)[-1] - 2).abs().max() < 0.06


@pytest.mark.parametrize("kind", [SolverKind.dpm, SolverKind.ddim])
def test_the_sde_gets_there_too_by_another_way(kind: SolverKind) -> None:
    found, plain = solved(kind, stochastic=True), solved(kind)
    assert (found[-1] - 2).abs().max() < 0.25
    assert torch.equal(found[0], plain[0])
    assert (found[25] - plain[25]).abs().max() > 0.1


def test_what_a_solver_cannot_do_is_refused() -> None:
    process = VariancePreserving(ALPHAS, Prediction.epsilon, CONFIG)
    for kind in (SolverKind.euler, SolverKind.heun, SolverKind.unipc):
        with pytest.raises(UserError, match=f"solver: {kind.value} solves the ODE alone"):
            process.solver(5, stochastic=True, kind=kind)
    RectifiedFlow().solver(5, kind=SolverKind.euler)
    with pytest.raises(UserError, match="rectified flow is solved by euler, not by ddim"):
        RectifiedFlow().solver(5, kind=SolverKind.ddim)
