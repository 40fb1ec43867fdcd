"""LoRA of small layers, as one product."""

import copy
from typing import Any

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from idgen.models.tuning.one_product import take_one_product

ALPHA, RANK = 6, 2


def tuned(base: nn.Module) -> Any:
    """A layer with LoRA that does something."""
    torch.manual_seed(0)
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["0"])
    holder = nn.Sequential(base)
    inject_adapter_in_model(config, holder)
    for name, weight in holder.named_parameters():
        weight.requires_grad_("lora_" in name)
        nn.init.normal_(weight, std=0.3)
    return holder[0]


def results(layer: Any, x: Tensor) -> list[Tensor]:
    """Output and gradients."""
    x = x.clone().requires_grad_()
    weights = [weight for weight in layer.parameters() if weight.requires_grad]
    y = layer(x)
    grads = torch.autograd.grad(y.square().sum(), [x, *weights])
    return [y, *grads]


@pytest.mark.parametrize(
    ("base", "shape"),
    [
        (nn.Linear(6, 10), (2, 5, 6)),
        (nn.Linear(6, 10, bias=False), (3, 6)),
        (nn.Conv2d(4, 8, 3, stride=2, padding=1), (2, 4, 8, 8)),
        (nn.Conv2d(4, 8, 1, bias=False), (2, 4, 8, 8)),
    ],
)
def test_outputs_and_gradients_are_those_of_three_products(
    base: nn.Module, shape: tuple[int, ...]
) -> None:
    layer = tuned(base)
    x = torch.randn(shape)
    wanted = results(layer, x)
    calls: list[object] = []
    layer.lora_A["default"].register_forward_hook(lambda *_: calls.append(_))
    take_one_product(layer)
    torch.testing.assert_close(results(layer, x), wanted, rtol=1e-4, atol=1e-4)
    assert not calls
    # A copy, as an average of the weights is made of, has weights of its own.
    copied = copy.deepcopy(layer)
    nn.init.zeros_(copied.lora_B["default"].weight)
    torch.testing.assert_close(copied(x), copied.base_layer(x))
    torch.testing.assert_close(layer(x), wanted[0], rtol=1e-4, atol=1e-4)


def test_switched_off_or_folded_it_is_the_frozen_layer() -> None:
    layer = tuned(nn.Linear(6, 10))
    take_one_product(layer)
    x = torch.randn(4, 6)
    with_lora = layer(x)
    frozen = nn.functional.linear(x, layer.base_layer.weight, layer.base_layer.bias)
    layer._disable_adapters = True
    assert torch.equal(layer(x), frozen)
    layer._disable_adapters = False
    layer.merge()
    torch.testing.assert_close(layer(x), with_lora)


def test_what_is_rounded_goes_beside_it() -> None:
    """W + B A in bfloat16 would lose most of a small B A."""
    layer = tuned(nn.Linear(6, 10))
    take_one_product(layer)
    calls: list[object] = []
    layer.lora_A["default"].register_forward_hook(lambda *_: calls.append(_))
    x = torch.randn(4, 6)
    layer(x)
    assert not calls
    with torch.autocast("cpu", torch.bfloat16):
        layer(x)
    assert len(calls) == 1
    layer.base_layer.to(torch.bfloat16)
    layer(x.bfloat16())
    assert len(calls) == 2


@pytest.mark.parametrize(
    "base",
    [
        nn.Linear(512, 512),
        nn.Conv2d(8, 8, 3, groups=2),
        nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular"),
        nn.Embedding(8, 8),
    ],
)
def test_wide_layers_and_others_stay_as_they_are(base: nn.Module) -> None:
    layer = tuned(base)
    before = type(layer)
    take_one_product(layer)
    assert type(layer) is before
