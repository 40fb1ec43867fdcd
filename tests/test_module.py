"""The training step against its formulas, computed anew."""

import pytest
import torch
from torch.nn.functional import mse_loss

from idgen.data.batch import PriorBatch, SubjectBatch
from idgen.losses import LossWeights
from idgen.models.conditioning import TextOnly
from idgen.models.decoupling import PhotoFeatures
from idgen.models.stable_diffusion import StableDiffusionBackbone
from idgen.models.text import TextStates
from idgen.models.tuning import LoraTuning
from idgen.module import PersonalizationModule


def make_module(backbone: StableDiffusionBackbone, weight: float) -> PersonalizationModule:
    weights = LossWeights(prior_preservation=weight)
    return PersonalizationModule(backbone, LoraTuning(), TextOnly, loss_weights=weights)


def make_batch(backbone: StableDiffusionBackbone, with_prior: bool) -> SubjectBatch:
    generator = torch.Generator().manual_seed(3)
    means = torch.randn(2, 2, *backbone.latent_shape, generator=generator)
    # So small a variance that the mean is what is drawn.
    certain = torch.full_like(means[0], -80.0)
    prior = PriorBatch(means[1], certain, backbone.tokenize(["a photo of a dog"] * 2))
    return SubjectBatch(
        means[0],
        certain,
        torch.zeros(2, 1, *backbone.latent_shape[1:]),
        PhotoFeatures(torch.zeros(2, 32), torch.zeros(2, 32)),
        backbone.tokenize(["a photo of a sks dog"] * 2),
        position=0,
        prior=prior if with_prior else None,
    )


def expected_error(
    backbone: StableDiffusionBackbone, mean: torch.Tensor, text: TextStates
) -> torch.Tensor:
    """|| eps - eps_theta(x_t, t, text) ||^2, drawing as the step draws."""
    clean = 0.5 * (mean + 0 * torch.randn_like(mean))
    noise = torch.randn_like(clean)
    times = torch.randint(1000, (len(clean),))
    share = backbone.schedule.alphas_cumprod[times].view(-1, 1, 1, 1)
    noisy = share.sqrt() * clean + (1 - share).sqrt() * noise
    return mse_loss(backbone.predict(noisy, times, text), noise)


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_the_prior_is_preserved_by_its_weight(
    backbone: StableDiffusionBackbone, weight: float
) -> None:
    module = make_module(backbone, weight)
    batch = make_batch(backbone, with_prior=True)
    assert batch.prior is not None
    torch.manual_seed(5)
    total = module.training_step(batch, 0)
    torch.manual_seed(5)
    on_subject = expected_error(backbone, batch.latent_mean, backbone.encode_text(batch.tokens))
    on_class = expected_error(
        backbone, batch.prior.latent_mean, backbone.encode_text(batch.prior.tokens)
    )
    torch.testing.assert_close(total, on_subject + weight * on_class)


def test_without_class_images_the_step_is_the_diffusion_loss(
    backbone: StableDiffusionBackbone,
) -> None:
    module = make_module(backbone, 1.0)
    batch = make_batch(backbone, with_prior=False)
    torch.manual_seed(5)
    total = module.training_step(batch, 0)
    torch.manual_seed(5)
    expected = expected_error(backbone, batch.latent_mean, backbone.encode_text(batch.tokens))
    torch.testing.assert_close(total, expected)
