import warnings
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from idgen.backbones.backbone import FeatureSpace
from idgen.errors import UserError
from idgen.models.conditioning import Conditioning, DecoupledFusion, TextOnly
from idgen.models.residual_tokens import ResidualTokens
from idgen.models.tuning import LayerTuning, LoraTuning, Tuning
from idgen.terms import (
    BackgroundPreservation,
    Diffusion,
    ImplicitExplicit,
    ImplicitText,
    LoadBalance,
    OrthogonalExperts,
    PriorPreservation,
    SceneDiffusion,
    Term,
    TextExplicit,
    WeakDenoising,
)
from idgen.terms.objective import Objective, paper_terms
from idgen.terms.step import Asked, Step

SPACE = FeatureSpace(8, 8)
TEXT, DECOUPLED = TextOnly(SPACE), DecoupledFusion(SPACE)


class Constant(Term):
    """L_k = 2, whatever happens."""

    def loss(self, step: Step, predictions: Mapping[Asked, Tensor]) -> Tensor:
        return torch.tensor(2.0)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("kind", [Diffusion, BackgroundPreservation, ImplicitText])
def test_weights_that_are_negative_or_not_finite_are_refused(
    kind: type[Term], weight: float
) -> None:
    with pytest.raises(ValueError, match=f"{kind.__name__}: weight"):
        kind(weight)


def test_what_stands_in_a_scene_counts_no_more_than_the_scene() -> None:
    with pytest.raises(ValueError, match="SceneDiffusion: subject must be from 0 to 1"):
        SceneDiffusion(1.0, 1.1)


@pytest.mark.parametrize("background", [1.01, -0.1, float("nan")])
@pytest.mark.parametrize("kind", [Diffusion, WeakDenoising])
def test_a_background_counts_no_more_than_the_subject(
    kind: type[Diffusion], background: float
) -> None:
    with pytest.raises(ValueError, match=f"{kind.__name__}: background must be from 0 to 1"):
        kind(1.0, background)


def test_the_total_is_the_weighted_sum() -> None:
    objective = Objective({"a": Constant(0.5), "b": Constant(3.0)}, TEXT, LoraTuning())
    total = objective.total({"a": torch.tensor(2.0), "b": torch.tensor(10.0)})
    assert total.item() == 31.0


def test_terms_without_weight_and_nulls_are_left_out() -> None:
    given = {"diffusion": Diffusion(), "a": Constant(0.0), "b": None}
    assert list(Objective(given, TEXT, LoraTuning()).terms) == ["diffusion"]


def test_nothing_to_learn_is_refused() -> None:
    with pytest.raises(ValueError, match="no term"):
        Objective({"diffusion": Diffusion(0.0)}, TEXT, LoraTuning())


def test_by_default_they_are_the_papers_as_far_as_the_method_has_them() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(Objective(None, DECOUPLED, LoraTuning()).terms) == list(paper_terms())
        assert list(Objective(None, TEXT, LoraTuning()).terms) == ["diffusion"]


@pytest.mark.parametrize(
    ("term", "conditioning", "tuning", "reason"),
    [
        (WeakDenoising(), TEXT, LoraTuning(), "L1 is the same error"),
        (ImplicitText(), TEXT, LoraTuning(), "no implicit branch"),
        (ImplicitText(), DecoupledFusion(SPACE, implicit=False), LoraTuning(), "no implicit"),
        (ImplicitExplicit(), TEXT, LoraTuning(), "no implicit branch"),
        (TextExplicit(), TEXT, LoraTuning(), "no explicit branch"),
        (TextExplicit(), DECOUPLED, LoraTuning(text_rank=0), "L4 has no gradient"),
        (LoadBalance(), DecoupledFusion(SPACE, experts=1), LoraTuning(), "no two experts"),
        (OrthogonalExperts(), TEXT, LoraTuning(), "no two experts"),
        (SceneDiffusion(), TEXT, LoraTuning(), "f_r is f_s"),
        (SceneDiffusion(), ResidualTokens(SPACE), LoraTuning(), "f_r is f_s"),
    ],
)
def test_a_term_that_does_nothing_is_warned_of(
    term: Term, conditioning: Conditioning, tuning: Tuning, reason: str
) -> None:
    given = {"diffusion": Diffusion(), "mine": term}
    with pytest.warns(UserWarning, match=rf"terms\.mine does nothing: .*{reason}"):
        assert list(Objective(given, conditioning, tuning).terms) == ["diffusion"]


def test_a_tuning_may_rule_a_term_out() -> None:
    given = {"diffusion": Diffusion(), "kept": BackgroundPreservation()}
    with pytest.raises(UserError, match="LayerTuning overwrites"):
        Objective(given, TEXT, LayerTuning())


def test_it_knows_whether_class_images_are_needed() -> None:
    plain = Objective({"diffusion": Diffusion()}, TEXT, LoraTuning())
    assert not plain.needs_class_images
    both = {"diffusion": Diffusion(), "prior": PriorPreservation()}
    assert Objective(both, TEXT, LoraTuning()).needs_class_images


@pytest.mark.parametrize("name", ["loss", "router_entropy", "expert_load_0", "grad_norm_denoiser"])
def test_names_that_the_logs_have_already_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"terms.{name}: the name is taken"):
        Objective({"diffusion": Diffusion(), name: Constant()}, TEXT, LoraTuning())
