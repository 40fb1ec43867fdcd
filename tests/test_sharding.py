"""A frozen transformer split between processes, and LoRA that stays whole in each."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from idgen.backbones import StableDiffusion3Backbone, SubjectWords
from idgen.backbones.text import TextStates
from idgen.errors import UserError
from idgen.models.tuning import LoraTuning
from idgen.runs.trainer import check_trainer_values
from tests.backbones.tiny_families import save_sd3

_PROCESSES = 2


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


def process(rank: int, folder: str, port: int) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=_PROCESSES)
    torch.set_num_threads(1)
    whole, split = tuned(Path(folder)), tuned(Path(folder))
    blocks = split.denoiser.transformer_blocks
    assert isinstance(blocks, nn.ModuleList)
    sizes = {name: p.numel() for name, p in split.denoiser.named_parameters()}
    for block in blocks:
        mesh = init_device_mesh("cpu", (_PROCESSES,))
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
        torch.testing.assert_close(own[name].grad, weight.grad / _PROCESSES)
    dist.destroy_process_group()


def test_a_split_frozen_model_predicts_and_learns_as_the_whole(tmp_path: Path) -> None:
    folder = save_sd3(tmp_path / "sd3")
    port = 20000 + os.getpid() % 20000
    spawn(process, (str(folder), port), _PROCESSES)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("strategy", ["fsdp", "deepspeed_stage_3", "ModelParallelStrategy"])
def test_strategies_that_split_what_is_trained_are_refused(strategy: str) -> None:
    path = f"lightning.pytorch.strategies.{strategy}"
    for given in (strategy, settings(class_path=path)):
        with pytest.raises(UserError, match=rf"--trainer\.strategy: {strategy} .*take ddp"):
            check_trainer_values(settings(strategy=given, accumulate_grad_batches=1))
    check_trainer_values(settings(strategy="ddp", accumulate_grad_batches=1))


def settings(**given: Any) -> Any:
    from jsonargparse import Namespace

    return Namespace(**given)  # type: ignore[no-untyped-call]
