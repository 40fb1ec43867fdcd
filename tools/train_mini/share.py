"""Training in several processes: on a CPU two of one thread do twice the work of one of two."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributed import all_reduce, init_process_group


@dataclass(frozen=True)
class Share:
    """This process among those that train together.

    Attributes:
        rank: Its number, from 0.
        world: How many there are.
    """

    rank: int = 0
    world: int = 1

    @classmethod
    def from_environment(cls) -> "Share":
        """Join the processes that ``torchrun`` started; alone if it started none."""
        world = int(os.environ.get("WORLD_SIZE", "1"))
        if world > 1:
            init_process_group("gloo")
        return cls(int(os.environ.get("RANK", "0")), world)

    def rows(self, step: int, count: int, batch: int, *salt: int) -> NDArray[np.int64]:
        """Pictures of a step, each process its own: those whose number leaves its rank over.

        Args:
            step: The step's number.
            count: How many pictures there are.
            batch: How many to take.
            *salt: What else the choice depends on.
        """
        rng = np.random.default_rng([step, self.rank, *salt])
        own = rng.integers(0, (count - self.rank - 1) // self.world + 1, batch)
        return own * self.world + self.rank

    def seed(self, step: int) -> int:
        """A seed for a step, another in each process."""
        return step * self.world + self.rank

    def average(self, trained: Sequence[Tensor], scalar: float) -> float:
        """Average gradients over the processes, in place, and a number along with them.

        Args:
            trained: Weights with gradients.
            scalar: The number, as this process has it.
        """
        if self.world == 1:
            return scalar
        gradients = [weight.grad for weight in trained if weight.grad is not None]
        device = gradients[0].device
        flat = torch.cat([g.flatten() for g in gradients] + [torch.tensor([scalar], device=device)])
        all_reduce(flat)
        flat /= self.world
        parts = torch.split(flat, [g.numel() for g in gradients] + [1])
        for gradient, part in zip(gradients, parts[:-1], strict=True):
            gradient.copy_(part.view_as(gradient))
        return float(parts[-1])
