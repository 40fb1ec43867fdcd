"""The term on cross-attention in a training step."""

import pytest
import torch

from idgen.backbones import StableDiffusionBackbone
from idgen.errors import UserError
from idgen.models.conditioning import DecoupledFusion, TextOnly
from idgen.models.tuning import LoraTuning
from idgen.module import PersonalizationModule
from idgen.terms import AttentionInMask, Diffusion, Term, WeakDenoising
from tests.backbones.tiny_flow import TinyFlowBackbone
from tests.test_module import configured, encoded, make_batch, noised, perturb


@pytest.mark.parametrize("reduction", [0, -2])
def test_a_reduction_that_is_none_is_refused(reduction: int) -> None:
    with pytest.raises(ValueError, match="AttentionInMask: reduction"):
        AttentionInMask(reduction=reduction)


def test_it_is_the_distance_of_fs_map_from_the_mask(backbone: StableDiffusionBackbone) -> None:
    terms = {"attention": AttentionInMask(0.5, 2)}
    module = configured(backbone, DecoupledFusion, terms)
    perturb(module)
    batch = make_batch(backbone, with_prior=False)
    torch.manual_seed(5)
    total = module.training_step(batch, 0)
    torch.manual_seed(5)
    noisy, times, _ = noised(backbone, batch.latent_mean)
    places = backbone.word_places(batch.prompts, "sks")
    text = encoded(backbone, batch.prompts)
    _, maps = backbone.predict_attending(noisy, times, text, places, [2])
    expected = torch.stack(
        [
            (looked / looked.max() - mask.view(4, 2, 4, 2).mean(dim=(1, 3))).square().mean()
            for looked, mask in zip(maps[2], batch.subject_mask[:, 0], strict=True)
        ]
    ).mean()
    torch.testing.assert_close(total, 0.5 * expected)


def test_the_map_comes_with_the_prediction_of_another_term(
    backbone: StableDiffusionBackbone,
) -> None:
    terms: dict[str, Term] = {"diffusion": Diffusion(), "weak_denoising": WeakDenoising()}
    batch = make_batch(backbone, with_prior=False)
    module = configured(backbone, DecoupledFusion, terms)
    sizes: list[int] = []
    backbone.denoiser.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    losses = []
    for _ in range(2):
        torch.manual_seed(5)
        losses.append(module.training_step(batch, 0))
        module.objective.terms["attention"] = AttentionInMask(1e-2, 2)
    assert sizes == [4, 4]
    assert losses[1] > losses[0]


def test_backbones_without_such_maps_are_refused_before_weights(
    backbone: StableDiffusionBackbone,
) -> None:
    terms: dict[str, Term | None] = {"diffusion": Diffusion(), "attention": AttentionInMask()}
    module = PersonalizationModule(backbone, LoraTuning(), TextOnly, terms)
    with pytest.raises(UserError, match=r"AttentionInMask\.reduction: .* at 4; set it to 2"):
        module.check(fit=True)
    module.check(fit=False)
    with pytest.raises(UserError, match=r"AttentionInMask needs .* TinyFlowBackbone does not"):
        module.objective.check(TinyFlowBackbone())
