"""Both ways that tools/benchmark_step.py times do the same work."""

import pytest

from idgen.backbones import StableDiffusionBackbone
from idgen.backbones.text import SubjectWords
from idgen.models.conditioning import DecoupledFusion
from idgen.models.tuning import LoraTuning
from tools.benchmark_step import Step, check_equal, one_call, two_calls


def test_one_call_has_the_gradient_of_two_and_keeps_as_much(
    backbone: StableDiffusionBackbone,
) -> None:
    backbone.attach(LoraTuning(rank=2), SubjectWords("sks", "dog"))
    step = Step.of(backbone, DecoupledFusion(backbone.features), 3)
    assert step.gradient(one_call).abs().max() > 0
    assert check_equal(step) < 1e-4
    kept = step.kept_bytes(one_call)
    assert kept == pytest.approx(step.kept_bytes(two_calls), rel=0.05)
    assert kept > 3 * step.latents.untyped_storage().nbytes()
