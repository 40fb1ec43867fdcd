"""A frozen denoiser's weights split between processes, each block whole only while it is used.

By torch's `fully_shard`, after Fully Sharded Data Parallel (Zhao et al. 2023). What is trained is
left out of it and stays whole in each process.
"""

from typing import Any

from torch import nn

from idgen.backbones.backbone import Backbone
from idgen.backbones.pipeline import PipelineBackbone
from idgen.errors import UserError


def blocks_of(denoiser: nn.Module) -> list[nn.Module]:
    """What of a denoiser is whole at once: what diffusers says must stay on one device.

    Args:
        denoiser: Of diffusers; of others nothing is known.

    Returns:
        Its blocks, those inside of others before these; without the denoiser itself.
    """
    names = frozenset(getattr(denoiser, "_no_split_modules", None) or ())
    return [part for part in denoiser.modules() if type(part).__name__ in names][::-1]


def most_held(denoiser: nn.Module, processes: int) -> int:
    """How many weights a process holds at most of a denoiser that is split.

    Its share, what is in no block, and two blocks: the one that is used, and the next.

    Args:
        denoiser: Of diffusers.
        processes: How many there are.
    """
    blocks, seen, sizes = blocks_of(denoiser), set[nn.Parameter](), list[int]()
    for part in (*blocks, denoiser):
        own = set(part.parameters()) - seen
        seen |= own
        sizes.append(sum(weight.numel() for weight in own))
    *of_blocks, rest = sizes
    whole = sum(sorted(of_blocks)[-2:]) + rest
    return min(sum(sizes), -(-sum(sizes) // processes) + whole)


def check_split(backbone: Backbone) -> None:
    """Refuses a backbone that cannot be split; no weights are loaded.

    Args:
        backbone: Loaded or not.

    Raises:
        UserError: If it is held in few bits, or its denoiser's blocks are not known.
    """
    name = type(backbone).__name__
    if isinstance(backbone, PipelineBackbone) and backbone.quantization is not None:
        raise UserError(
            f"{name}.dtype: weights in {backbone.quantization} cannot be split between processes; "
            "take bfloat16, or the strategy ddp"
        )
    denoiser = backbone.skeleton().denoiser
    if not blocks_of(denoiser):
        raise UserError(
            f"--trainer.strategy: the denoiser of {name}, {type(denoiser).__name__}, names no "
            "blocks to split (_no_split_modules, as diffusers' models do); take ddp"
        )


def split(backbone: Backbone, mesh: Any) -> None:
    """Splits the denoiser's frozen weights, in place; all processes have to call it.

    From then on, each call of the denoiser waits for all processes.

    Args:
        backbone: Loaded, with its tuning attached.
        mesh: The processes, a `DeviceMesh` of one dimension. Blocks are brought to its device one
            by one.
    """
    from torch.distributed.fsdp import fully_shard

    denoiser = backbone.denoiser
    trained = {weight for weight in denoiser.parameters() if weight.requires_grad}
    # The denoiser itself holds what is in no block, and lets the blocks be fetched ahead.
    for part in (*blocks_of(denoiser), denoiser):
        fully_shard(part, mesh=mesh, reshard_after_forward=True, ignored_params=trained)
    backbone.is_split = True
