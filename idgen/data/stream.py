"""An endless, resumable order of training batches."""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from idgen.data.batch import SubjectBatch
from idgen.seeds import seed_of


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


class ShapedOrder:
    """Batches of items of one shape each, all items as often as each other.

    The items of a shape are in an endless order of their own. In a lap, of as many global batches
    as there are items, each shape has as many turns as it has items, so that each item comes up
    once for every row of a global batch. Shapes take turns by chance, the same on all processes.
    """

    def __init__(
        self,
        shapes: Sequence[tuple[int, ...]],
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Sets what is ordered.

        Args:
            shapes: The shape of each item.
            batch_size: Items a batch on each process.
            seed: Decides the order.
            rank: This process.
            world_size: How many processes share a global batch.
        """
        self._groups = [
            [item for item, shape in enumerate(shapes) if shape == own]
            for own in dict.fromkeys(shapes)
        ]
        self._orders = [
            EndlessOrder(len(group), batch_size, seed, rank, world_size) for group in self._groups
        ]
        self._turns = [at for at, group in enumerate(self._groups) for _ in group]
        self._seed = seed

    def indices(self, position: int) -> list[int]:
        """The items of this process's batch at a position."""
        lap, within = divmod(position, len(self._turns))
        turns = list(self._turns)
        random.Random(seed_of("shapes", self._seed, lap)).shuffle(turns)
        at = turns[within]
        group = self._groups[at]
        number = lap * len(group) + turns[:within].count(at)
        return [group[item] for item in self._orders[at].indices(number)]


class SubjectStream:
    """Yields batches whose order is a function of the seed and the position alone.

    A few photos make an epoch of a few steps, and a GPU that idles between them; this stream
    runs through permutation after permutation of the views instead, and calls a fixed number of
    steps an epoch. A batch holds views of one shape. Its state is a position, so that a run resumed
    in mid-epoch goes on where it was.
    """

    def __init__(
        self,
        collate: Callable[[list[int], int], SubjectBatch],
        shapes: Sequence[tuple[int, ...]],
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
            shapes: The shape of each view.
            batch_size: Views a step on each process.
            steps_per_epoch: Batches an epoch.
            seed: Decides the order.
            rank: This process.
            world_size: How many processes share a global batch.
            position: Of the first batch.
        """
        self._collate = collate
        self._order = ShapedOrder(shapes, batch_size, seed, rank, world_size)
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
