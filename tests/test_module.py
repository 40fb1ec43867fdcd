"""The training step against its formulas, computed anew."""

import warnings
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import mse_loss

from idgen.data.batch import PriorBatch, SubjectBatch
from idgen.errors import UserError
from idgen.losses import LossWeights
from idgen.models.conditioning import ConditioningCallable, DecoupledFusion, TextOnly
from idgen.models.decoupling import PhotoFeatures
from idgen.models.stable_diffusion import StableDiffusionBackbone
from idgen.models.text import TextStates
from idgen.models.tuning import CombinedTuning, LayerTuning, LoraTuning, TokenTuning
from idgen.module import PersonalizationModule


def make_module(backbone: StableDiffusionBackbone, weight: float) -> PersonalizationModule:
    weights = LossWeights(prior_preservation=weight)
    return PersonalizationModule(backbone, LoraTuning(), TextOnly, loss_weights=weights)


def make_batch(backbone: StableDiffusionBackbone, with_prior: bool) -> SubjectBatch:
    generator = torch.Generator().manual_seed(3)
    photo, background = torch.randn(2, 2, 32, generator=generator)
    means = torch.randn(2, 2, *backbone.latent_shape, generator=generator)
    # So small a variance that the mean is what is drawn.
    certain = torch.full_like(means[0], -80.0)
    prior = PriorBatch(means[1], certain, backbone.tokenize(["a photo of a dog"] * 2))
    return SubjectBatch(
        means[0],
        certain,
        torch.rand(2, 1, *backbone.latent_shape[1:], generator=generator),
        PhotoFeatures(photo, background),
        backbone.tokenize(["a photo of a sks dog"] * 2),
        backbone.tokenize(["a photo of a dog"] * 2),
        position=0,
        prior=prior if with_prior else None,
    )


def expected_error(
    backbone: StableDiffusionBackbone, mean: torch.Tensor, text: TextStates
) -> torch.Tensor:
    """|| eps - eps_theta(x_t, t, text) ||^2, drawing as the step draws."""
    noisy, times, noise = noised(backbone, mean)
    return mse_loss(backbone.predict(noisy, times, text), noise)


def noised(
    backbone: StableDiffusionBackbone, mean: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x_t, t and eps, drawn as the step draws."""
    clean = 0.5 * (mean + 0 * torch.randn_like(mean))
    noise = torch.randn_like(clean)
    times = backbone.schedule.sample_times(len(clean), clean.device)
    share = backbone.schedule.alphas_cumprod[times].view(-1, 1, 1, 1)
    return share.sqrt() * clean + (1 - share).sqrt() * noise, times, noise


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


def with_weak_denoising(
    backbone: StableDiffusionBackbone, background: float
) -> PersonalizationModule:
    weights = LossWeights(1.0, 0.0, 0.0, 0.0, weak_denoising=0.5, background=background)
    module = PersonalizationModule(backbone, LoraTuning(), DecoupledFusion, loss_weights=weights)
    perturb(module.conditioning)  # FFM starts as the identity
    return module


def error_in_region(
    prediction: torch.Tensor, target: torch.Tensor, mask: torch.Tensor, background: float
) -> torch.Tensor:
    """A weighted mean for each picture, then over pictures."""
    error, shares = (prediction - target).square().mean(dim=1), mask.squeeze(1)
    region = shares + background * (1 - shares)
    return ((error * region).sum(dim=(1, 2)) / region.sum(dim=(1, 2))).mean()


@pytest.mark.parametrize("background", [1.0, 0.25, 0.0])
def test_weak_denoising_is_the_error_under_the_text_alone(
    backbone: StableDiffusionBackbone, background: float
) -> None:
    module = with_weak_denoising(backbone, background)
    batch = make_batch(backbone, with_prior=False)
    torch.manual_seed(5)
    total = module.training_step(batch, 0)
    torch.manual_seed(5)
    noisy, times, noise = noised(backbone, batch.latent_mean)
    text = backbone.encode_text(batch.tokens)
    refined = module.conditioning(text, batch.features).refined
    under_refined = mse_loss(backbone.predict(noisy, times, refined), noise)
    prediction = backbone.predict(noisy, times, text)
    under_text = error_in_region(prediction, noise, batch.subject_mask, background)
    torch.testing.assert_close(total, under_refined + 0.5 * under_text)
    assert not torch.isclose(under_refined, under_text)


def test_the_subject_alone_may_count_where_the_condition_is_the_text(
    backbone: StableDiffusionBackbone,
) -> None:
    """Masked plain LoRA: only errors on the subject make a loss."""
    weights = LossWeights(background=0.0)
    module = PersonalizationModule(backbone, LoraTuning(), TextOnly, loss_weights=weights)
    batch = make_batch(backbone, with_prior=False)
    torch.manual_seed(5)
    total = module.training_step(batch, 0)
    torch.manual_seed(5)
    noisy, times, noise = noised(backbone, batch.latent_mean)
    text = backbone.encode_text(batch.tokens)
    under_text = backbone.predict(noisy, times, text)
    expected = error_in_region(under_text, noise, batch.subject_mask, 0.0)
    torch.testing.assert_close(total, expected)


def perturb(module: torch.nn.Module) -> None:
    """Trained weights start as no change; these are one."""
    for parameter in module.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)


@pytest.mark.parametrize(("conditioning", "weak"), [(DecoupledFusion, 0.5), (TextOnly, 0.0)])
def test_beside_the_subject_the_frozen_backbone_is_kept_to(
    backbone: StableDiffusionBackbone, conditioning: ConditioningCallable, weak: float
) -> None:
    batch = make_batch(backbone, with_prior=False)
    backbone.load()
    torch.manual_seed(5)
    noisy, times, _ = noised(backbone, batch.latent_mean)
    with torch.no_grad():
        before = backbone.predict(noisy, times, backbone.encode_text(batch.class_tokens))

    def total(preservation: float) -> torch.Tensor:
        module.loss_weights = LossWeights(
            weak_denoising=weak, background=0.0, background_preservation=preservation
        )
        torch.manual_seed(5)
        return module.training_step(batch, 0)

    weights = LossWeights(weak_denoising=weak)
    module = PersonalizationModule(backbone, LoraTuning(), conditioning, loss_weights=weights)
    perturb(backbone)
    prediction = backbone.predict(noisy, times, backbone.encode_text(batch.tokens))
    expected = error_in_region(prediction, before, 1 - batch.subject_mask, 0.0)
    assert expected > 1e-3
    torch.testing.assert_close(total(3.0) - total(0.0), 3 * expected, rtol=1e-4, atol=1e-5)
    # The frozen backbone's pass has no gradient, and LoRA is trained on after it.
    total(3.0).backward()  # type: ignore[no-untyped-call]
    lora = [parameter for parameter in backbone.denoiser.parameters() if parameter.requires_grad]
    assert lora
    assert all(parameter.grad is not None for parameter in lora)


def test_untrained_the_background_is_preserved_but_for_the_token(
    backbone: StableDiffusionBackbone,
) -> None:
    weights = LossWeights(background=0.0, background_preservation=1.0)
    module = PersonalizationModule(backbone, LoraTuning(), TextOnly, loss_weights=weights)
    batch = make_batch(backbone, with_prior=False)._replace(
        tokens=backbone.tokenize(["a photo of a dog"] * 2)
    )
    batch = batch._replace(subject_mask=torch.zeros_like(batch.latent_mean[:, :1]))
    assert module.training_step(batch, 0).item() == 0


def test_a_tuning_that_overwrites_the_backbone_cannot_preserve(
    backbone: StableDiffusionBackbone,
) -> None:
    weights = LossWeights(background_preservation=1.0)
    parts = CombinedTuning([TokenTuning("dog"), LayerTuning()])
    with pytest.raises(UserError, match=r"background_preservation.*LayerTuning overwrites"):
        PersonalizationModule(backbone, parts, TextOnly, loss_weights=weights)


def test_both_conditions_go_through_the_denoiser_in_one_call(
    backbone: StableDiffusionBackbone,
) -> None:
    module = with_weak_denoising(backbone, 0.0)
    sizes: list[int] = []
    backbone.denoiser.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    module.training_step(make_batch(backbone, with_prior=False), 0)
    assert sizes == [4]


@pytest.mark.parametrize(
    ("conditioning", "weak", "warns"),
    [(DecoupledFusion, 0.1, False), (DecoupledFusion, 0.0, True), (TextOnly, 0.0, False)],
)
@pytest.mark.parametrize("name", ["background", "background_preservation"])
def test_weights_without_weak_denoising_are_warned_of(
    backbone: StableDiffusionBackbone,
    name: str,
    conditioning: ConditioningCallable,
    weak: float,
    warns: bool,
) -> None:
    weights = replace(LossWeights(weak_denoising=weak), **{name: 0.5})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        PersonalizationModule(backbone, LoraTuning(), conditioning, loss_weights=weights)
    assert any(f"loss_weights.{name} does" in str(one.message) for one in caught) == warns
