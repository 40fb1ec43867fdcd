import math

import pytest
import torch

from idgen.backbones.latents import sample_latents


def test_posterior_samples_have_its_mean_and_deviation() -> None:
    mean = torch.full((20_000, 1, 1, 1), 3.0)
    drawn = sample_latents(mean, torch.full_like(mean, 2 * math.log(0.5)))
    assert drawn.mean().item() == pytest.approx(3.0, abs=0.02)
    assert drawn.std().item() == pytest.approx(0.5, abs=0.02)
