from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from idgen.errors import UserError
from idgen.processes import RectifiedFlow
from idgen.processes.rectified_flow import interpolate

CPU = torch.device("cpu")
CONFIG = dict(FlowMatchEulerDiscreteScheduler(shift=3.0).config)


def test_noising_agrees_with_diffusers() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(CONFIG)
    clean, noise = torch.randn(2, 3, 4, 8, 8)
    at = torch.tensor([0, 400, 999])
    ours = interpolate(clean, noise, scheduler.sigmas[at])
    theirs = scheduler.scale_noise(clean, scheduler.timesteps[at], noise)
    torch.testing.assert_close(ours, theirs)


def test_the_target_is_the_velocity_of_the_line() -> None:
    """From x_s, going back along the target by s arrives at x_0, and on by 1 - s at the noise."""
    torch.manual_seed(0)
    clean = torch.randn(4, 2, 3, 3)
    noised = RectifiedFlow(CONFIG).noised(clean)
    s = (noised.times / 1000).view(-1, 1, 1, 1)
    torch.testing.assert_close(noised.noisy - s * noised.target, clean, rtol=1e-4, atol=1e-5)
    noise = noised.noisy + (1 - s) * noised.target
    torch.testing.assert_close(noise - clean, noised.target, rtol=1e-4, atol=1e-5)
    assert noised.weight is None


def test_the_logit_of_times_is_normal() -> None:
    process = RectifiedFlow(CONFIG, logit_mean=0.5, logit_std=0.7)
    logits = torch.logit(process.sample_shares(50_000, CPU).double())
    assert logits.mean().item() == pytest.approx(0.5, abs=0.01)
    assert logits.std().item() == pytest.approx(0.7, abs=0.01)
    assert (logits.sub(0.5).div(0.7).abs() < 1).double().mean().item() == pytest.approx(
        0.6827, abs=0.01
    )


def test_without_a_deviation_times_are_uniform() -> None:
    shares = RectifiedFlow(CONFIG, logit_std=0).sample_shares(20_000, CPU)
    assert shares.mean().item() == pytest.approx(0.5, abs=0.01)
    assert shares.quantile(0.25).item() == pytest.approx(0.25, abs=0.01)


def test_shifted_times_are_diffusers_own() -> None:
    plain = RectifiedFlow(CONFIG, logit_std=0)
    shifted = RectifiedFlow(CONFIG, shift=3.0, logit_std=0)
    torch.manual_seed(1)
    before = plain.sample_shares(1000, CPU).sort().values
    torch.manual_seed(1)
    after = shifted.sample_shares(1000, CPU).sort().values
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(CONFIG)
    scheduler.set_timesteps(sigmas=before.flip(0).tolist())
    torch.testing.assert_close(after.flip(0), scheduler.sigmas[:-1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mu", [None, 0.8])
def test_the_solver_follows_a_known_velocity_to_the_latents(mu: float | None) -> None:
    config = {**CONFIG, "use_dynamic_shifting": mu is not None}
    solver = RectifiedFlow(config, mu=mu).solver(7)
    clean, noise = torch.randn(2, 1, 4, 8, 8)
    latents = solver.start(noise)
    torch.testing.assert_close(latents, noise)
    assert len(solver.times) == 7
    for time in solver.times:
        latents = solver.step(noise - clean, time, solver.scaled(latents, time))
    torch.testing.assert_close(latents, clean, rtol=1e-4, atol=1e-5)


def test_whole_steps_visit_even_shares_before_they_are_shifted() -> None:
    process = RectifiedFlow(dict(FlowMatchEulerDiscreteScheduler().config), whole_steps=True)
    times = process.solver(4).times / 1000
    torch.testing.assert_close(times, torch.tensor([1.0, 0.75, 0.5, 0.25]))
    shifting = dict(FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True).config)
    shifted = RectifiedFlow(shifting, mu=1.0, whole_steps=True).solver(4).times / 1000
    expected = torch.e * times / (1 + (torch.e - 1) * times)
    torch.testing.assert_close(shifted, expected)


def test_a_stochastic_solver_is_refused() -> None:
    with pytest.raises(UserError, match="stochastic"):
        RectifiedFlow(CONFIG).solver(4, stochastic=True)


@pytest.mark.parametrize("values", [{"shift": 0.0}, {"shift": float("nan")}, {"logit_std": -1.0}])
def test_values_that_no_time_follows_from_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="shift must"):
        RectifiedFlow(CONFIG, **values)
