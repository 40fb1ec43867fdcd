import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from idgen.losses import (
    attention_loss,
    denoising_loss,
    expert_overlap_loss,
    implicit_explicit_loss,
    implicit_text_loss,
    load_balance_loss,
    subject_region,
    text_explicit_loss,
)


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    rows = [float(x @ y / (x.norm() * y.norm())) for x, y in zip(a, b, strict=True)]
    return sum(rows) / len(rows)


def test_cosine_losses_have_their_signs() -> None:
    first, second = torch.randn(2, 6, 32)
    expected = cosine(first, second)
    assert implicit_text_loss(first, second).item() == pytest.approx(expected, abs=1e-6)
    assert text_explicit_loss(first, second).item() == pytest.approx(expected, abs=1e-6)
    assert implicit_explicit_loss(first, second).item() == pytest.approx(-expected, abs=1e-6)


def test_denoising_loss_is_the_mean_squared_error() -> None:
    prediction, target = torch.randn(2, 3, 4, 8, 8)
    expected = torch.nn.functional.mse_loss(prediction, target)
    torch.testing.assert_close(denoising_loss(prediction, target), expected)


def test_weights_over_time_weigh_images() -> None:
    prediction, target = torch.randn(2, 2, 4, 8, 8)
    weighted = denoising_loss(prediction, target, torch.tensor([2.0, 0.0]))
    torch.testing.assert_close(weighted, denoising_loss(prediction[:1], target[:1]))


@settings(deadline=None)
@given(st.floats(1e-6, 1e6), st.sampled_from([None, torch.tensor([0.5, 2.0])]))
def test_a_region_that_is_the_same_everywhere_equals_none(
    share: float, weight: torch.Tensor | None
) -> None:
    prediction, target = torch.randn(2, 2, 4, 6, 5, generator=torch.manual_seed(0))
    region = torch.full((2, 1, 6, 5), share)
    torch.testing.assert_close(
        denoising_loss(prediction, target, weight, region),
        denoising_loss(prediction, target, weight),
    )


def test_a_region_weighs_places_and_no_picture_more_than_another() -> None:
    prediction, target = torch.randn(2, 3, 4, 6, 5)
    region = torch.rand(3, 1, 6, 5) * torch.tensor([1.0, 0.1, 0.01]).view(3, 1, 1, 1)
    errors = []
    for predicted, wanted, (places,) in zip(prediction, target, region, strict=True):
        by_place = ((predicted - wanted) ** 2).mean(dim=0)
        errors.append(float((by_place * places).sum() / places.sum()))
    expected = pytest.approx(sum(errors) / 3, rel=1e-5)
    assert denoising_loss(prediction, target, None, region).item() == expected
    weighted = denoising_loss(prediction, target, torch.tensor([0.0, 3.0, 0.0]), region)
    assert weighted.item() == pytest.approx(errors[1], rel=1e-5)


def test_what_lies_outside_the_region_does_not_count() -> None:
    prediction, target = torch.randn(2, 2, 4, 6, 5)
    inside = torch.zeros(2, 1, 6, 5)
    inside[:, :, 2:4, 1:3] = 1
    prediction.requires_grad_()
    loss = denoising_loss(prediction, target, None, inside)
    (gradient,) = torch.autograd.grad(loss, prediction)
    assert (gradient * (1 - inside) == 0).all()
    cut = (slice(None), slice(None), slice(2, 4), slice(1, 3))
    torch.testing.assert_close(loss, denoising_loss(prediction[cut], target[cut]))


def test_a_picture_without_a_subject_adds_no_error() -> None:
    prediction, target = torch.randn(2, 2, 4, 6, 5)
    region = torch.stack([torch.zeros(1, 6, 5), torch.rand(1, 6, 5)])
    prediction.requires_grad_()
    loss = denoising_loss(prediction, target, None, region)
    (gradient,) = torch.autograd.grad(loss, prediction)
    other = denoising_loss(prediction[1:], target[1:], None, region[1:])
    torch.testing.assert_close(loss, other / 2)
    assert gradient.isfinite().all()
    assert (gradient[0] == 0).all()


def test_the_region_of_a_subject() -> None:
    mask = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3)
    assert subject_region(mask, 1.0).flatten().tolist() == [1, 1, 1]
    assert subject_region(mask, 0.0).flatten().tolist() == [0, 0.5, 1]
    torch.testing.assert_close(subject_region(mask, 0.2).flatten(), torch.tensor([0.2, 0.6, 1.0]))


def test_attention_on_the_subject_alone_costs_nothing_at_any_strength() -> None:
    mask = torch.zeros(2, 1, 8, 8)
    mask[:, :, 2:6, :4] = 1.0
    there = mask[:, 0].reshape(2, 4, 2, 4, 2).mean(dim=(2, 4))
    for strength in (1.0, 1e-3):
        assert attention_loss(strength * there, mask).item() == pytest.approx(0, abs=1e-7)
    assert attention_loss(1 - there, mask).item() == pytest.approx(1)
    spread = attention_loss(torch.full((2, 4, 4), 0.3), mask)
    assert spread.item() == pytest.approx(1 - there.mean().item())
    assert attention_loss(torch.zeros(2, 4, 4), mask).isfinite()


def test_training_on_it_moves_attention_onto_the_subject() -> None:
    """Of two tokens with free logits, one is looked for where the mask is, peaks or not."""
    torch.manual_seed(0)
    mask = torch.zeros(1, 1, 8, 8)
    mask[:, :, :4, :3] = 1.0
    logits = torch.randn(1, 8, 8, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        attention_loss(logits.sigmoid(), mask).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    looked = logits.detach().sigmoid()
    assert looked[mask[:, 0] == 0].max() < 0.2 * looked[mask[:, 0] == 1].min()


@pytest.mark.parametrize("experts", [2, 5])
def test_the_load_is_balanced_at_one_and_worst_at_the_number_of_experts(experts: int) -> None:
    even = torch.full((2, 3, experts), 1 / experts)
    assert load_balance_loss(even).item() == pytest.approx(1)
    one = torch.zeros(2, 3, experts)
    one[..., 1] = 1
    assert load_balance_loss(one).item() == pytest.approx(experts)
    # Tokens may each have an expert of their own, as long as all have work.
    turns = torch.eye(experts)[torch.arange(2 * experts) % experts].view(2, experts, experts)
    assert load_balance_loss(turns).item() == pytest.approx(1)


def test_the_loads_gradient_takes_work_from_the_busy() -> None:
    logits = torch.randn(2, 3, 4, requires_grad=True)
    gates = logits.softmax(dim=-1)
    load_balance_loss(gates).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    lighter = (logits - 0.1 * logits.grad).softmax(dim=-1)
    assert load_balance_loss(lighter) < load_balance_loss(gates)


def test_experts_overlap_by_the_squares_of_their_cosines() -> None:
    first, second, third = torch.randn(3, 2, 5, 6)
    each = []
    for one, other in ((first, second), (first, third), (second, third)):
        for x, y in zip(one.flatten(0, 1), other.flatten(0, 1), strict=True):
            dot = sum(float(a * b) for a, b in zip(x, y, strict=True))
            each.append((dot / (math.hypot(*x.tolist()) * math.hypot(*y.tolist()))) ** 2)
    expected = pytest.approx(sum(each) / len(each), rel=1e-4)
    assert expert_overlap_loss([first, second, third]).item() == expected
    assert expert_overlap_loss([first, -3 * first]).item() == pytest.approx(1, abs=1e-5)


def test_experts_that_do_nothing_yet_do_not_overlap_and_have_a_finite_gradient() -> None:
    nothing = [torch.zeros(2, 3, 4, requires_grad=True) for _ in range(2)]
    loss = expert_overlap_loss(nothing)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    for residual in nothing:
        assert residual.grad is not None
        assert (residual.grad == 0).all()
