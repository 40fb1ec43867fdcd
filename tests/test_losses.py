import pytest
import torch

from idgen.losses import (
    LossWeights,
    denoising_loss,
    implicit_explicit_loss,
    implicit_text_loss,
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


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_weights_that_are_negative_or_not_finite_are_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="implicit_text"):
        LossWeights(implicit_text=weight)
