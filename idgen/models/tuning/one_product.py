"""LoRA of small layers on a CPU: one product instead of three.

W x + s B A x is (W + s B A) x. The second form costs a gradient of W's size, the first several
passes over x and two products that are too narrow for a CPU to be fast at; in small layers the
second is the faster one.
"""

from typing import Any

import torch
from peft.tuners.lora.layer import Conv2d, Linear
from torch import Tensor, nn

# Harmonic sum of a layer's two widths; measured by `tools.bench.lora`.
_WIDEST = 105


class OneProduct(nn.Module):
    """The forward pass of a layer of peft's, put before its own."""

    base_layer: Any
    lora_A: Any
    lora_B: Any
    scaling: dict[str, float]
    active_adapters: list[str]
    merged_adapters: list[str]
    _disable_adapters: bool

    def forward(self, x: Tensor, *args: Any, **options: Any) -> Tensor:
        """(W + s B A) x in float32 on a CPU, and what peft does elsewhere."""
        weight = self.base_layer.weight
        plain = (
            x.device.type == "cpu"
            and x.dtype == weight.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
        )
        if not plain or self._disable_adapters or self.merged_adapters or args or options:
            result: Tensor = super().forward(x, *args, **options)
            return result
        [adapter] = self.active_adapters
        down, up = self.lora_A[adapter].weight, self.lora_B[adapter].weight
        changed = torch.addmm(
            weight.flatten(1), up.flatten(1), down.flatten(1), alpha=self.scaling[adapter]
        )
        return self.product(x, changed.view_as(weight))

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        """The layer's own, with another weight."""
        raise NotImplementedError


class OneProductLinear(OneProduct, Linear):  # type: ignore[misc]
    """A linear layer."""

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        """`weight` x + bias."""
        return nn.functional.linear(x, weight, self.base_layer.bias)


class OneProductConv2d(OneProduct, Conv2d):  # type: ignore[misc]
    """A convolution."""

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        """The convolution of x with `weight`, plus the bias."""
        base = self.base_layer
        result: Tensor = base._conv_forward(x, weight, base.bias)
        return result


_KINDS: dict[type, type] = {Linear: OneProductLinear, Conv2d: OneProductConv2d}


def take_one_product(layer: Any) -> None:
    """Gives a layer with plain LoRA, without any dropout, the one product, where it is small.

    Args:
        layer: Of peft's, with one adapter.
    """
    base = layer.get_base_layer()
    kind = _KINDS.get(type(layer))
    if kind is None or type(base) not in (nn.Linear, nn.Conv2d):
        return
    # The convolution by A pads with zeros and knows no groups, whatever W's does.
    if isinstance(base, nn.Conv2d) and (base.groups > 1 or base.padding_mode != "zeros"):
        return
    outputs, inputs = len(base.weight), base.weight[0].numel()
    if outputs * inputs <= _WIDEST * (outputs + inputs):
        # Not by peft's own table of layers, whose constructors change from version to version.
        layer.__class__ = kind
