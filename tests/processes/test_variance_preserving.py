from dataclasses import replace

import pytest
import torch
from diffusers import DDPMScheduler

from idgen.processes import Prediction, VariancePreserving
from idgen.processes.variance_preserving import add_noise, min_snr_weight, training_target


def schedule(prediction: Prediction) -> VariancePreserving:
    alphas = DDPMScheduler(beta_schedule="scaled_linear").alphas_cumprod
    return VariancePreserving(alphas, prediction)


@pytest.mark.parametrize("prediction", list(Prediction))
def test_noising_and_targets_agree_with_diffusers(prediction: Prediction) -> None:
    ours = schedule(prediction)
    theirs = DDPMScheduler(beta_schedule="scaled_linear", prediction_type=prediction.value)
    clean, noise = torch.randn(2, 5, 4, 8, 8)
    times = torch.tensor([0, 1, 500, 998, 999])
    torch.testing.assert_close(
        add_noise(ours, clean, noise, times), theirs.add_noise(clean, noise, times)
    )
    expected = {
        Prediction.epsilon: noise,
        Prediction.sample: clean,
        Prediction.v_prediction: theirs.get_velocity(clean, noise, times),
    }[prediction]
    torch.testing.assert_close(training_target(ours, clean, noise, times), expected)


@pytest.mark.parametrize("prediction", [Prediction.epsilon, Prediction.v_prediction])
def test_min_snr_weighs_the_clean_latents_error_by_the_clipped_snr(prediction: Prediction) -> None:
    """A weighted error in the target equals min(SNR, gamma) times the error it makes in x_0."""
    ours = schedule(prediction)
    times = torch.arange(50, 950, 100)
    clean, noise = torch.randn(2, len(times), 1, 1, 1, dtype=torch.float64)
    noisy = add_noise(ours, clean, noise, times)
    signal, sigma = ours.signal_and_noise(times)
    wrong = training_target(ours, clean, noise, times) + 0.1
    if prediction is Prediction.epsilon:
        recovered = (noisy - sigma * wrong) / signal
    else:
        recovered = signal * noisy - sigma * wrong
    snr = (signal / sigma).square().flatten().double()
    expected = snr.clamp(max=5) * (recovered - clean).square().flatten()
    weighted = min_snr_weight(ours, times, 5.0).double() * 0.1**2
    torch.testing.assert_close(weighted, expected, rtol=1e-4, atol=1e-9)


def test_weights_come_with_a_gamma_alone() -> None:
    clean = torch.randn(4, 4, 8, 8)
    assert schedule(Prediction.epsilon).noised(clean).weight is None
    weighing = replace(schedule(Prediction.epsilon), min_snr_gamma=5.0)
    noised = weighing.noised(clean)
    torch.testing.assert_close(noised.weight, min_snr_weight(weighing, noised.times, 5.0))


@pytest.mark.parametrize("gamma", [0.0, -1.0, float("nan"), float("inf")])
def test_a_gamma_that_is_no_weight_is_refused(gamma: float) -> None:
    with pytest.raises(ValueError, match="min_snr_gamma"):
        replace(schedule(Prediction.epsilon), min_snr_gamma=gamma)


def test_times_of_a_batch_are_spread_evenly() -> None:
    ours = schedule(Prediction.epsilon)
    drawn = torch.stack([ours.sample_times(8, torch.device("cpu")) for _ in range(400)])
    gaps = drawn.sort(dim=1).values.diff(dim=1)
    assert (gaps - 125).abs().max() <= 1
    # Each place of the batch by itself has every time alike.
    assert (drawn.float().mean(dim=0) - 499.5).abs().max() < 70
    assert ours.sample_times(1, torch.device("cpu")).shape == (1,)


def test_times_cover_the_schedule() -> None:
    times = schedule(Prediction.epsilon).sample_times(20_000, torch.device("cpu"))
    assert times.min() >= 0
    assert times.max() <= 999
    assert times.float().mean().item() == pytest.approx(499.5, abs=10)
