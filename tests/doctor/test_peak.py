"""Bytes that are alive at most, and a GPU's rules without a GPU."""

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from idgen.doctor.peak import CudaRules, PeakMemory


def test_the_peak_is_what_is_alive_at_once() -> None:
    memory = PeakMemory()
    with memory:
        first = torch.zeros(1000)  # 4096 bytes as they are allotted
        second = first + 1
        view = second.view(10, 100)
        del first
        third = torch.ones(300)  # 1536
        assert memory.now == 4096 + 1536
        assert memory.peak == 2 * 4096
        del second
        assert memory.now == 4096 + 1536  # the view holds it
        del view, third
        assert memory.now == 0
    assert memory.peak == 2 * 4096


def test_what_is_noted_counts_once() -> None:
    memory = PeakMemory()
    weight = torch.zeros(128)
    memory.note(weight)
    memory.note(weight[5:])
    assert memory.now == 512


class _Attention(CudaRules):
    """Attention alone by the rules, for tensors that are of CUDA by name: those of autocast are
    there already."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if function is F.scaled_dot_product_attention:
            half = [part.to(torch.bfloat16) for part in args[:3]]
            return super().__torch_function__(function, types, half, kwargs)
        return function(*args, **(kwargs or {}))


class _Block(nn.Module):
    """What a U-Net is made of, with frozen and trained weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(8, 8, 3, padding=1), nn.GroupNorm(2, 8)
        self.project, self.layer = nn.Linear(8, 24), nn.LayerNorm(8)
        self.requires_grad_(False)
        self.conv.requires_grad_(True)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.conv(F.silu(self.norm(x)))
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        tokens = self.layer(x.flatten(2).transpose(1, 2))
        parts = self.project(tokens).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(parts[0], parts[1], parts[2])
        weighed = torch.softmax(attended, dim=-1) ** 2
        return F.gelu(weighed).sum() + weighed.exp().mean()


def kept(block: nn.Module, device: str, rules: AbstractContextManager[Any]) -> tuple[int, int]:
    """Bytes that a forward pass keeps, and its peak."""
    block = copy.deepcopy(block)
    memory = PeakMemory()
    with FakeTensorMode(allow_non_fake_inputs=True), torch.device(device):
        block.to_empty(device=device)
        x = torch.empty(2, 8, 16, 16, dtype=torch.bfloat16)
        torch.set_autocast_enabled(device, True)
        torch.set_autocast_dtype(device, torch.bfloat16)
        try:
            with memory, rules:
                result = block(x)
        finally:
            torch.set_autocast_enabled(device, False)
            torch.clear_autocast_cache()
        assert result.numel() == 1
        return memory.now, memory.peak


@pytest.mark.skipif(torch.version.cuda is None, reason="torch without CUDA's rules")
def test_the_rules_are_those_of_cuda() -> None:
    """Tensors that are CUDA's by name can go forward without a GPU, by its own autocast."""
    with torch.device("meta"):
        block = _Block()
    mixed = torch.bfloat16
    counted = kept(block, "cpu", CudaRules(mixed))
    assert counted == kept(block, "cuda", _Attention(mixed))
    assert counted != kept(block, "cpu", _Attention(mixed))
