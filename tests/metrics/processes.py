"""Metrics in several real processes."""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import start_processes

Shard = Callable[[int, int], Tensor]
"""Rank and number of processes to what that process computes."""


def _work(rank: int, world: int, folder: str, shard: Shard) -> None:
    torch.set_num_threads(1)  # a forked process lacks the threads of the pool that it inherits
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous-{world}", rank=rank, world_size=world
    )
    torch.save(shard(rank, world), f"{folder}/{world}-{rank}.pt")
    dist.destroy_process_group()


def in_processes(world: int, folder: Path, shard: Shard) -> list[Tensor]:
    """What each of so many processes computes."""
    # Forked, because importing torch once more in each process takes tens of seconds when busy.
    start_processes(_work, (world, str(folder), shard), nprocs=world, start_method="fork")  # type: ignore[no-untyped-call]
    return [torch.load(folder / f"{world}-{rank}.pt", weights_only=True) for rank in range(world)]
