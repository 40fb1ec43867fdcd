"""One of the processes between which a frozen transformer is split.

Its imports are what each process takes the longest for: no test's, and no Lightning.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from idgen.backbones import StableDiffusion3Backbone, SubjectWords
from idgen.backbones.text import TextStates
from idgen.models.tuning import LoraTuning

PROCESSES = 2


class _Denoising(nn.Module):
    """The denoiser's pass as a module's, which is what gradients are averaged for."""

    def __init__(self, backbone: StableDiffusion3Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, noisy: Tensor, text: TextStates) -> Tensor:
        return self.backbone.predict(noisy, torch.full((len(noisy),), 0.5), text)


def tuned(folder: Path) -> StableDiffusion3Backbone:
    """With LoRA in the transformer that changes what is predicted."""
    torch.manual_seed(0)
    backbone = StableDiffusion3Backbone(str(folder), t5=False, t5_tokens=12)
    backbone.load()
    backbone.attach(LoraTuning(rank=2, text_rank=0), SubjectWords("sks", "dog"))
    with torch.no_grad():
        for weight in trained(backbone).values():
            weight.normal_(std=0.1)
    return backbone


def trained(network: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in network.named_parameters() if p.requires_grad}


def other_process(index: int, folder: str, port: int) -> None:
    """Another than the first, begun by `spawn`."""
    torch.set_num_threads(1)
    compare(index + 1, folder, port)


def compare(rank: int, folder: str, port: int) -> None:
    """Compares a split transformer with a whole one, in each process at once."""
    address, limit = f"tcp://127.0.0.1:{port}", timedelta(seconds=120)
    dist.init_process_group("gloo", address, limit, PROCESSES, rank)
    try:
        _compare(rank, folder)
    finally:
        dist.destroy_process_group()


def _compare(rank: int, folder: str) -> None:
    whole, split = tuned(Path(folder)), tuned(Path(folder))
    blocks = split.denoiser.transformer_blocks
    assert isinstance(blocks, nn.ModuleList)
    sizes = {name: p.numel() for name, p in split.denoiser.named_parameters()}
    for block in blocks:
        mesh = init_device_mesh("cpu", (PROCESSES,))
        fully_shard(block, mesh=mesh, ignored_params=set(trained(block).values()))
    frozen: dict[str, Any] = {
        n: p for n, p in split.denoiser.named_parameters() if hasattr(p, "to_local")
    }
    assert frozen
    assert not any(p.requires_grad for p in frozen.values())
    held = sum(p.to_local().numel() for p in frozen.values())
    assert held <= 0.6 * sum(sizes[name] for name in frozen)

    text = whole.encode(["a sks dog", "a dog in the snow"])
    text = text.with_states(text.states.detach())
    torch.manual_seed(rank)  # each process has pictures of its own
    noisy = torch.randn(2, *whole.latent_shape)
    averaged = DistributedDataParallel(_Denoising(split), init_sync=False)
    predicted, expected = averaged(noisy, text), _Denoising(whole)(noisy, text)
    torch.testing.assert_close(predicted, expected)
    for output in (predicted, expected):
        output.square().mean().backward()
    own = trained(split)
    for name, weight in trained(whole).items():
        if weight.grad is None:
            continue
        dist.all_reduce(weight.grad)
        assert weight.grad.any()
        assert own[name].shape == weight.shape
        torch.testing.assert_close(own[name].grad, weight.grad / PROCESSES)
