"""An endless, resumable order of training batches."""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from idgen.data.batch import SubjectBatch


def places(position: int, batch_size: int, rank: int = 0, world_size: int = 1) -> range:
    """The places in the endless order that a process's batch has; no two rows share one.

    Args:
        position: The batch's.
        batch_size: Rows a batch on each process.
        rank: This process.
        world_size: How many processes share a global batch.
    """
    start = (position * world_size + rank) * batch_size
    return range(start, start + batch_size)


class EndlessOrder:
    """Permutation after permutation of some items, by batches; a function of seed and position.

    Every process takes its own part of one global batch.
    """

    def __init__(
        self, items: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1
    ) -> None:
        """Sets what is ordered.

        Args:
            items: How many items there are.
            batch_size: Items a batch on each process.
            seed: Decides the order.
            rank: This process.
            world_size: How many processes share a global batch.
        """
        self._items = items
        self._batch_size = batch_size
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self._lap: int | None = None
        self._order: list[int] = []

    def indices(self, position: int) -> list[int]:
        """The items of this process's batch at a position."""
        return [self._item_at(place) for place in self._places(position)]

    def _places(self, position: int) -> range:
        return places(position, self._batch_size, self._rank, self._world_size)

    def _item_at(self, place: int) -> int:
        lap, within = divmod(place, self._items)
        if self._lap != lap:
            generator = torch.Generator().manual_seed(self._seed * 1_000_003 + lap)
            self._order = torch.randperm(self._items, generator=generator).tolist()
            self._lap = lap
        return int(self._order[within])


class SubjectStream:
    """Yields batches whose order is a function of the seed and the position alone.

    A few photos make an epoch of a few steps, and a GPU that idles between them; this stream
    runs through permutation after permutation of the views instead, and calls a fixed number of
    steps an epoch. Its state is a position, so that a run resumed in mid-epoch goes on where it
    was.
    """

    def __init__(
        self,
        collate: Callable[[list[int], int], SubjectBatch],
        views: int,
        batch_size: int,
        steps_per_epoch: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        position: int = 0,
    ) -> None:
        """Sets what is streamed.

        Args:
            collate: Makes a batch of view indices and the batch's position.
            views: How many views there are.
            batch_size: Views a step on each process.
            steps_per_epoch: Batches an epoch.
            seed: Decides the order.
            rank: This process.
            world_size: How many processes share a global batch.
            position: Of the first batch.
        """
        self._collate = collate
        self._order = EndlessOrder(views, batch_size, seed, rank, world_size)
        self._steps_per_epoch = steps_per_epoch
        self._position = position

    def __len__(self) -> int:
        return self._steps_per_epoch

    def indices(self, position: int) -> list[int]:
        """The views of this process's batch at a position."""
        return self._order.indices(position)

    def __iter__(self) -> Iterator[SubjectBatch]:
        while True:
            batch = self._collate(self.indices(self._position), self._position)
            self._position += 1
            yield batch
            if self._position % self._steps_per_epoch == 0:
                return

    def state_dict(self) -> dict[str, Any]:
        """The position, for the checkpoint."""
        return {"position": self._position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint's position."""
        self._position = state["position"]
