import pytest
import torch

from idgen.backbones.backbone import FeatureSpace
from idgen.backbones.text import TextStates
from idgen.errors import UserError
from idgen.models.conditioning import DecoupledFusion, FusedFeature, TextOnly
from idgen.models.decoupling import PhotoFeatures
from idgen.models.entry import FeatureEntry
from idgen.models.fusion import Routing

SPACE = FeatureSpace(8, 8)


def inputs() -> tuple[TextStates, PhotoFeatures]:
    torch.manual_seed(0)
    text = TextStates(torch.randn(2, 5, 8), torch.ones(2, 5, dtype=torch.bool))
    return text, PhotoFeatures(torch.randn(2, 8), torch.randn(2, 8))


def no_longer_the_identity(conditioning: DecoupledFusion) -> None:
    assert conditioning.fusion is not None
    for parameter in conditioning.fusion.parameters():
        torch.nn.init.normal_(parameter)


@pytest.mark.parametrize("fused", list(FusedFeature))
def test_at_the_start_the_condition_is_text_plus_the_irrelevant_feature(
    fused: FusedFeature,
) -> None:
    text, photo = inputs()
    conditioning = DecoupledFusion(SPACE, fused)
    assert conditioning.decoupling is not None
    implicit = conditioning.decoupling(photo.photo)
    irrelevant = {
        FusedFeature.explicit: photo.background,
        FusedFeature.implicit: implicit,
        FusedFeature.both: (photo.background + implicit) / 2,
    }[fused]
    condition = conditioning(text, photo)
    torch.testing.assert_close(condition.refined.states, text.states + irrelevant[:, None])
    torch.testing.assert_close(condition.implicit, implicit)


def test_explicit_leaves_the_adapter_without_a_diffusion_gradient() -> None:
    text, photo = inputs()
    for fused, reached in ((FusedFeature.explicit, False), (FusedFeature.implicit, True)):
        conditioning = DecoupledFusion(SPACE, fused)
        conditioning(text, photo).refined.states.sum().backward()
        assert conditioning.decoupling is not None
        assert (conditioning.decoupling.mask.grad is not None) == reached


def test_inference_without_a_photo_is_the_text() -> None:
    text, photo = inputs()
    conditioning = DecoupledFusion(SPACE)
    no_longer_the_identity(conditioning)
    assert conditioning.infer(text).states is text.states
    assert conditioning.infer(text, photo, weight=0.0).states is text.states


def test_inference_can_fuse() -> None:
    text, _ = inputs()
    conditioning = DecoupledFusion(SPACE, fuse_at_inference=True)
    no_longer_the_identity(conditioning)
    assert conditioning.fusion is not None
    fused = conditioning.infer(text).states
    torch.testing.assert_close(fused, conditioning.fusion(text).refined)
    assert not torch.allclose(fused, text.states)


def test_a_whole_reference_is_the_training_condition() -> None:
    text, photo = inputs()
    conditioning = DecoupledFusion(SPACE, FusedFeature.both)
    trained = conditioning(text, photo).refined.states
    torch.testing.assert_close(conditioning.infer(text, photo, weight=1.0).states, trained)


@pytest.mark.parametrize("entry", list(FeatureEntry))
def test_however_the_feature_enters_a_whole_reference_is_the_training_condition(
    entry: FeatureEntry,
) -> None:
    text, photo = inputs()
    conditioning = DecoupledFusion(SPACE, entry=entry, entry_scale=0.5, dropout=0.5).eval()
    no_longer_the_identity(conditioning)
    trained = conditioning(text, photo).refined
    inferred = conditioning.infer(text, photo, weight=1.0)
    torch.testing.assert_close(inferred.states, trained.states)
    assert torch.equal(inferred.mask, trained.mask)
    assert conditioning.infer(text).states is text.states


def test_dropout_is_of_training_alone_and_leaves_f_i_and_the_others_be() -> None:
    text, photo = inputs()
    conditioning = DecoupledFusion(SPACE, experts=0, dropout=0.5)
    torch.manual_seed(0)
    states = torch.stack([conditioning(text, photo).refined.states for _ in range(64)])
    dropped = (states == text.states).all(dim=-1).all(dim=-1)
    assert 0.35 < dropped.float().mean() < 0.65
    whole = text.states + photo.background[:, None]
    assert torch.equal(states[~dropped], whole.expand_as(states)[~dropped])
    assert torch.equal(conditioning.infer(text, photo, weight=1.0).states, whole)
    condition = conditioning(text, photo)
    assert condition.explicit is photo.background
    assert torch.equal(conditioning.eval()(text, photo).refined.states, whole)


@pytest.mark.parametrize("dropout", [-0.1, 1.0])
def test_a_dropout_that_is_no_share_is_refused(dropout: float) -> None:
    with pytest.raises(ValueError, match="dropout must be from 0 to below 1"):
        DecoupledFusion(SPACE, dropout=dropout)


def test_the_definition_tells_apart_what_shapes_do_not() -> None:
    plain = DecoupledFusion(SPACE).definition
    for changed in (
        DecoupledFusion(SPACE, entry=FeatureEntry.normed),
        DecoupledFusion(SPACE, entry_scale=0.5),
        DecoupledFusion(SPACE, routing=Routing.picture),
    ):
        assert changed.definition != plain


def test_without_experts_the_sum_is_the_condition() -> None:
    text, photo = inputs()
    condition = DecoupledFusion(SPACE, experts=0)(text, photo)
    assert condition.gates is None
    torch.testing.assert_close(condition.refined.states, text.states + photo.background[:, None])


@pytest.mark.parametrize("fused", [FusedFeature.implicit, FusedFeature.explicit])
def test_a_branch_can_be_left_out(fused: FusedFeature) -> None:
    text, photo = inputs()
    implicit = fused is FusedFeature.implicit
    alone = DecoupledFusion(SPACE, fused, experts=0, implicit=implicit, explicit=not implicit)
    condition = alone(text, photo)
    irrelevant = condition.implicit if implicit else photo.background
    assert irrelevant is not None
    torch.testing.assert_close(condition.refined.states, text.states + irrelevant[:, None])
    assert (condition.implicit is None) == (not implicit)
    assert (condition.explicit is None) == implicit
    assert bool(list(alone.parameters())) == implicit
    torch.testing.assert_close(
        alone.infer(text, photo, weight=1.0).states, condition.refined.states
    )


@pytest.mark.parametrize("fused", list(FusedFeature))
def test_a_branch_that_is_fused_cannot_be_left_out(fused: FusedFeature) -> None:
    if fused is not FusedFeature.explicit:
        with pytest.raises(ValueError, match=fused.value):
            DecoupledFusion(SPACE, fused, implicit=False)
    if fused is not FusedFeature.implicit:
        with pytest.raises(ValueError, match=fused.value):
            DecoupledFusion(SPACE, fused, explicit=False)


def test_text_only_is_the_text_and_refuses_a_reference() -> None:
    text, photo = inputs()
    conditioning = TextOnly(SPACE)
    assert conditioning(text, photo).refined is text
    assert conditioning.infer(text).states is text.states
    assert conditioning.infer(text, photo, weight=0.0).states is text.states
    assert not list(conditioning.parameters())
    with pytest.raises(UserError, match="reference"):
        conditioning.infer(text, photo, weight=0.5)


@pytest.mark.parametrize("space", [FeatureSpace(8, 8), FeatureSpace(8)])
def test_embeddings_of_another_width_are_projected_by_a_learnt_layer(space: FeatureSpace) -> None:
    text, _ = inputs()
    photo = PhotoFeatures(torch.randn(2, 5), torch.randn(2, 5))
    conditioning = DecoupledFusion(space, image_width=5)
    assert conditioning.image_width == 5
    assert conditioning.projection is not None
    condition = conditioning(text, photo)
    explicit = photo.background @ conditioning.projection.weight.T + conditioning.projection.bias
    torch.testing.assert_close(condition.explicit, explicit)
    torch.testing.assert_close(condition.refined.states, text.states + explicit[:, None])
    condition.refined.states.sum().backward()
    assert conditioning.projection.weight.grad is not None


def test_without_an_image_twin_the_encoders_width_has_to_be_named() -> None:
    with pytest.raises(ValueError, match="image_width"):
        DecoupledFusion(FeatureSpace(8))
    assert DecoupledFusion(SPACE).projection is None
    assert TextOnly(FeatureSpace(8)).image_width is None


@pytest.mark.parametrize("width", [0, -3])
def test_a_width_that_is_none_is_refused(width: int) -> None:
    with pytest.raises(ValueError, match="image_width must be 1 or more"):
        DecoupledFusion(SPACE, image_width=width)


def test_experts_of_endless_width_are_refused() -> None:
    with pytest.raises(ValueError, match="hidden_ratio"):
        DecoupledFusion(SPACE, hidden_ratio=float("inf"))
