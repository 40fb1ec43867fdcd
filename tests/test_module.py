"""The training step against its formulas, computed anew."""

import copy
from collections.abc import Mapping

import pytest
import torch
from torch.nn.functional import mse_loss

from idgen.backbones import FeatureSpace, StableDiffusionBackbone
from idgen.backbones.text import TextStates
from idgen.data.batch import PriorBatch, SceneBatch, SubjectBatch
from idgen.errors import UserError
from idgen.models.conditioning import ConditioningCallable, DecoupledFusion, TextOnly
from idgen.models.decoupling import PhotoFeatures
from idgen.models.entry import FeatureEntry
from idgen.models.fusion import Routing
from idgen.models.tuning import CombinedTuning, LayerTuning, LoraTuning, TokenTuning, Tuning
from idgen.module import PersonalizationModule
from idgen.processes import VariancePreserving
from idgen.terms import (
    BackgroundPreservation,
    Diffusion,
    LoadBalance,
    OrthogonalExperts,
    PriorPreservation,
    SceneDiffusion,
    Term,
    WeakDenoising,
)


def configured(
    backbone: StableDiffusionBackbone,
    conditioning: ConditioningCallable,
    terms: Mapping[str, Term],
    tuning: Tuning | None = None,
) -> PersonalizationModule:
    module = PersonalizationModule(backbone, tuning or LoraTuning(), conditioning, dict(terms))
    module.configure_model()
    return module


def make_batch(backbone: StableDiffusionBackbone, with_prior: bool) -> SubjectBatch:
    generator = torch.Generator().manual_seed(3)
    photo, background = torch.randn(2, 2, 32, generator=generator)
    means = torch.randn(2, 2, *backbone.latent_shape, generator=generator)
    # So small a variance that the mean is what is drawn.
    certain = torch.full_like(means[0], -80.0)
    prior = PriorBatch(means[1], certain, ("a photo of a dog",) * 2)
    return SubjectBatch(
        means[0],
        certain,
        torch.rand(2, 1, *backbone.latent_shape[1:], generator=generator),
        PhotoFeatures(photo, background),
        ("a photo of a sks dog",) * 2,
        ("a photo of a dog",) * 2,
        position=0,
        prior=prior if with_prior else None,
    )


def encoded(backbone: StableDiffusionBackbone, prompts: tuple[str, ...]) -> TextStates:
    return backbone.encode_text(backbone.tokenize(prompts))


def noised(
    backbone: StableDiffusionBackbone, mean: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x_t, t and eps, drawn as the step draws."""
    process = backbone.process
    assert isinstance(process, VariancePreserving)
    clean = 0.5 * (mean + 0 * torch.randn_like(mean))
    noise = torch.randn_like(clean)
    times = process.sample_times(len(clean), clean.device)
    share = process.alphas_cumprod[times].view(-1, 1, 1, 1)
    return share.sqrt() * clean + (1 - share).sqrt() * noise, times, noise


def expected_error(
    backbone: StableDiffusionBackbone, mean: torch.Tensor, prompts: tuple[str, ...]
) -> torch.Tensor:
    """|| eps - eps_theta(x_t, t, text) ||^2, drawing as the step draws."""
    noisy, times, noise = noised(backbone, mean)
    return mse_loss(backbone.predict(noisy, times, encoded(backbone, prompts)), noise)


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_the_prior_is_preserved_by_its_weight(
    backbone: StableDiffusionBackbone, weight: float
) -> None:
    terms = {"diffusion": Diffusion(), "prior_preservation": PriorPreservation(weight)}
    module = configured(backbone, TextOnly, terms)
    batch = make_batch(backbone, with_prior=True)
    assert batch.prior is not None
    torch.manual_seed(5)
    total = module.training_step(batch, 0)
    torch.manual_seed(5)
    on_subject = expected_error(backbone, batch.latent_mean, batch.prompts)
    on_class = expected_error(backbone, batch.prior.latent_mean, batch.prior.prompts)
    torch.testing.assert_close(total, on_subject + weight * on_class)


def test_the_priors_loss_without_class_images_is_refused(backbone: StableDiffusionBackbone) -> None:
    module = configured(backbone, TextOnly, {"prior_preservation": PriorPreservation()})
    with pytest.raises(UserError, match=r"data\.prior"):
        module.training_step(make_batch(backbone, with_prior=False), 0)


def test_without_class_images_the_step_is_the_diffusion_loss(
    backbone: StableDiffusionBackbone,
) -> None:
    module = configured(backbone, TextOnly, {"diffusion": Diffusion()})
    batch = make_batch(backbone, with_prior=False)
    torch.manual_seed(5)
    total = module.training_step(batch, 0)
    torch.manual_seed(5)
    expected = expected_error(backbone, batch.latent_mean, batch.prompts)
    torch.testing.assert_close(total, expected)


def with_weak_denoising(
    backbone: StableDiffusionBackbone, background: float
) -> PersonalizationModule:
    terms = {"diffusion": Diffusion(), "weak_denoising": WeakDenoising(0.5, background)}
    module = configured(backbone, DecoupledFusion, terms)
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
    text = encoded(backbone, batch.prompts)
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
    module = configured(backbone, TextOnly, {"diffusion": Diffusion(background=0.0)})
    batch = make_batch(backbone, with_prior=False)
    torch.manual_seed(5)
    total = module.training_step(batch, 0)
    torch.manual_seed(5)
    noisy, times, noise = noised(backbone, batch.latent_mean)
    text = encoded(backbone, batch.prompts)
    under_text = backbone.predict(noisy, times, text)
    expected = error_in_region(under_text, noise, batch.subject_mask, 0.0)
    torch.testing.assert_close(total, expected)


def perturb(module: torch.nn.Module) -> None:
    """Trained weights start as no change; these are one."""
    for parameter in module.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)


@pytest.mark.parametrize("conditioning", [DecoupledFusion, TextOnly])
def test_beside_the_subject_the_frozen_backbone_is_kept_to(
    backbone: StableDiffusionBackbone, conditioning: ConditioningCallable
) -> None:
    batch = make_batch(backbone, with_prior=False)
    torch.manual_seed(5)
    noisy, times, _ = noised(backbone, batch.latent_mean)
    with torch.no_grad():
        before = backbone.predict(noisy, times, encoded(backbone, batch.class_prompts))
    terms = {"diffusion": Diffusion(), "background_preservation": BackgroundPreservation(3.0)}
    module = configured(backbone, conditioning, terms)
    perturb(backbone)
    prediction = backbone.predict(noisy, times, encoded(backbone, batch.prompts))
    expected = error_in_region(prediction, before, 1 - batch.subject_mask, 0.0)
    assert expected > 1e-3

    def total() -> torch.Tensor:
        torch.manual_seed(5)
        return module.training_step(batch, 0)

    both = total()
    preserving = module.objective.terms.pop("background_preservation")
    torch.testing.assert_close(both - total(), 3 * expected, rtol=1e-4, atol=1e-5)
    module.objective.terms["background_preservation"] = preserving
    # The frozen backbone's pass has no gradient, and LoRA is trained on after it.
    total().backward()  # type: ignore[no-untyped-call]
    lora = [parameter for parameter in backbone.denoiser.parameters() if parameter.requires_grad]
    assert lora
    assert all(parameter.grad is not None for parameter in lora)


def test_untrained_the_background_is_preserved_but_for_the_token(
    backbone: StableDiffusionBackbone,
) -> None:
    terms = {"diffusion": Diffusion(background=0.0), "preserved": BackgroundPreservation()}
    module = configured(backbone, TextOnly, terms)
    batch = make_batch(backbone, with_prior=False)._replace(prompts=("a photo of a dog",) * 2)
    batch = batch._replace(subject_mask=torch.zeros_like(batch.latent_mean[:, :1]))
    assert module.training_step(batch, 0).item() == 0


def test_a_tuning_that_overwrites_the_backbone_cannot_preserve(
    backbone: StableDiffusionBackbone,
) -> None:
    parts = CombinedTuning([TokenTuning("dog"), LayerTuning()])
    terms: dict[str, Term | None] = {"background_preservation": BackgroundPreservation()}
    with pytest.raises(UserError, match=r"background_preservation.*LayerTuning overwrites"):
        PersonalizationModule(backbone, parts, TextOnly, terms)


def test_all_conditions_go_through_the_denoiser_in_one_call(
    backbone: StableDiffusionBackbone,
) -> None:
    terms = {
        "diffusion": Diffusion(),
        "weak_denoising": WeakDenoising(),
        "background_preservation": BackgroundPreservation(),
        "prior_preservation": PriorPreservation(),
    }
    module = configured(backbone, DecoupledFusion, terms)
    sizes: list[tuple[int, bool]] = []
    backbone.denoiser.register_forward_pre_hook(
        lambda _, inputs: sizes.append((len(inputs[0]), torch.is_grad_enabled()))
    )
    module.training_step(make_batch(backbone, with_prior=True), 0)
    # f_r, f_s and the class images with gradients; the frozen backbone's without.
    assert sizes == [(6, True), (2, False)]


def test_equal_prompts_are_encoded_once_a_step_and_fixed_ones_once(
    backbone: StableDiffusionBackbone,
) -> None:
    terms = {"diffusion": Diffusion(), "preserved": BackgroundPreservation()}
    module = configured(backbone, TextOnly, terms)
    texts: list[int] = []
    backbone.text_encoders[0].register_forward_pre_hook(
        lambda _, __, given: texts.append(len(given["input_ids"])), with_kwargs=True
    )
    for _ in range(3):
        module.training_step(make_batch(backbone, with_prior=False), 0)
    assert texts == [1, 1, 1, 1]  # each step the photos', at the first that of their class too


def test_the_states_of_a_frozen_text_side_are_kept(backbone: StableDiffusionBackbone) -> None:
    module = configured(backbone, TextOnly, {"diffusion": Diffusion()}, LoraTuning(text_rank=0))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        first = backbone.encode(["a photo of a sks dog"])
    assert torch.equal(first.states, encoded(backbone, ("a photo of a sks dog",)).states)
    texts: list[int] = []
    backbone.text_encoders[0].register_forward_pre_hook(lambda *_: texts.append(1))
    total = module.training_step(make_batch(backbone, with_prior=False), 0)
    total.backward()  # type: ignore[no-untyped-call]
    assert not texts


def test_it_starts_alike_whatever_random_numbers_were_drawn_before(
    backbone: StableDiffusionBackbone,
) -> None:
    starts = []
    for seed in (1, 2):
        fresh = StableDiffusionBackbone(backbone.source)
        module = PersonalizationModule(fresh, LoraTuning(), DecoupledFusion)
        torch.manual_seed(seed)
        module.configure_model()
        after = torch.rand(1)
        torch.manual_seed(seed)
        assert torch.equal(after, torch.rand(1))
        starts.append(module.state_dict())
    assert starts[0].keys() == starts[1].keys()
    assert all(torch.equal(value, starts[1][key]) for key, value in starts[0].items())


def test_a_copy_is_a_module_of_its_own(backbone: StableDiffusionBackbone) -> None:
    terms = {"diffusion": Diffusion(), "preserved": BackgroundPreservation()}
    module = configured(backbone, TextOnly, terms)
    batch = make_batch(backbone, with_prior=False)
    other = copy.deepcopy(module)
    perturb(other.backbone)
    totals = []
    for one in (module, other, module):
        torch.manual_seed(5)
        totals.append(one.training_step(batch, 0).item())
    assert totals[0] == totals[2] != totals[1]


def test_embeddings_of_another_width_are_refused(backbone: StableDiffusionBackbone) -> None:
    module = PersonalizationModule(backbone, LoraTuning(), DecoupledFusion)
    module.check_features(32)
    with pytest.raises(UserError, match=r"width 24.*takes 32.*image_width to 24"):
        module.check_features(24)
    PersonalizationModule(backbone, LoraTuning(), TextOnly).check_features(24)


@pytest.mark.parametrize("needed", [True, False])
def test_class_images_and_their_term_go_together(
    backbone: StableDiffusionBackbone, needed: bool
) -> None:
    terms: dict[str, Term | None] = {"diffusion": Diffusion()}
    if needed:
        terms["prior_preservation"] = PriorPreservation()
    module = PersonalizationModule(backbone, LoraTuning(), TextOnly, terms)
    module.check_class_images(needed)
    with pytest.raises(UserError, match=r"data\.prior"):
        module.check_class_images(not needed)


def with_scenes(backbone: StableDiffusionBackbone) -> SubjectBatch:
    """A batch that has images of the class in two scenes too."""
    generator = torch.Generator().manual_seed(4)
    photo, background = torch.randn(2, 2, 32, generator=generator)
    mean = torch.randn(2, *backbone.latent_shape, generator=generator)
    scenes = SceneBatch(
        mean,
        torch.full_like(mean, -80.0),
        torch.rand(2, 1, *backbone.latent_shape[1:], generator=generator),
        PhotoFeatures(photo, background),
        ("a photo of a dog",) * 2,
    )
    return make_batch(backbone, with_prior=False)._replace(scenes=scenes)


@pytest.mark.parametrize("entry", list(FeatureEntry))
@pytest.mark.parametrize("subject", [1.0, 0.25, 0.0])
def test_scene_images_are_drawn_under_their_own_background_and_a_prompt_without_a_scene(
    backbone: StableDiffusionBackbone, entry: FeatureEntry, subject: float
) -> None:
    def conditioning(space: FeatureSpace) -> DecoupledFusion:
        return DecoupledFusion(space, entry=entry)

    terms = {"diffusion": Diffusion(), "scenes": SceneDiffusion(0.5, subject)}
    module = configured(backbone, conditioning, terms)
    perturb(module.conditioning)
    batch = with_scenes(backbone)
    assert batch.scenes is not None
    torch.manual_seed(5)
    total = module.training_step(batch, 0)
    torch.manual_seed(5)
    noisy, times, noise = noised(backbone, batch.latent_mean)
    text = encoded(backbone, batch.prompts)
    refined = module.conditioning(text, batch.features).refined
    on_photos = mse_loss(backbone.predict(noisy, times, refined), noise)
    noisy, times, noise = noised(backbone, batch.scenes.latent_mean)
    text = encoded(backbone, batch.scenes.prompts)
    refined = module.conditioning(text, batch.scenes.features).refined
    prediction = backbone.predict(noisy, times, refined)
    on_scenes = error_in_region(prediction, noise, 1 - batch.scenes.subject_mask, subject)
    torch.testing.assert_close(total, on_photos + 0.5 * on_scenes)


def test_scene_images_go_through_the_denoiser_with_the_photos(
    backbone: StableDiffusionBackbone,
) -> None:
    terms = {"diffusion": Diffusion(), "weak": WeakDenoising(), "scenes": SceneDiffusion()}
    module = configured(backbone, DecoupledFusion, terms)
    sizes: list[int] = []
    backbone.denoiser.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    module.training_step(with_scenes(backbone), 0)
    assert sizes == [6]


def test_the_scene_images_loss_without_them_is_refused(backbone: StableDiffusionBackbone) -> None:
    module = configured(backbone, DecoupledFusion, {"scenes": SceneDiffusion()})
    with pytest.raises(UserError, match=r"data\.scenes"):
        module.training_step(make_batch(backbone, with_prior=False), 0)


@pytest.mark.parametrize("needed", [True, False])
def test_scene_images_and_what_uses_them_go_together(
    backbone: StableDiffusionBackbone, needed: bool
) -> None:
    terms: dict[str, Term | None] = {"diffusion": Diffusion()}
    if needed:
        terms["scenes"] = SceneDiffusion()
    module = PersonalizationModule(backbone, LoraTuning(), DecoupledFusion, terms)
    module.check_scene_images(given=needed, pasted=False)
    module.check_scene_images(given=True, pasted=True)
    with pytest.raises(UserError, match=r"data\.scenes"):
        module.check_scene_images(given=not needed, pasted=False)


def test_left_out_at_random_the_step_is_that_of_the_text_alone(
    backbone: StableDiffusionBackbone,
) -> None:
    def conditioning(space: FeatureSpace) -> DecoupledFusion:
        return DecoupledFusion(space, experts=0, dropout=1 - 1e-9)

    module = configured(backbone, conditioning, {"diffusion": Diffusion()})
    batch = make_batch(backbone, with_prior=False)
    torch.manual_seed(5)
    total = module.training_step(batch, 0)
    torch.manual_seed(5)
    torch.rand(2, 1, 1)
    expected = expected_error(backbone, batch.latent_mean, batch.prompts)
    torch.testing.assert_close(total, expected)


@pytest.mark.parametrize("routing", list(Routing))
def test_terms_of_the_experts_reach_router_and_experts_alone(
    backbone: StableDiffusionBackbone, routing: Routing
) -> None:
    def conditioning(space: FeatureSpace) -> DecoupledFusion:
        return DecoupledFusion(space, routing=routing, low_rank=2)

    terms = {"balance": LoadBalance(0.5), "apart": OrthogonalExperts(2.0)}
    module = configured(backbone, conditioning, terms, LoraTuning(text_rank=0))
    perturb(module.conditioning)
    total = module.training_step(make_batch(backbone, with_prior=False), 0)
    total.backward()  # type: ignore[no-untyped-call]
    trained = {n for n, p in module.named_parameters() if p.requires_grad and p.grad is not None}
    fusion = {n for n in module.trained_shapes if n.startswith("conditioning.fusion.")}
    assert trained == fusion
    assert 0.5 < total < 0.5 * 4 + 2.0
