"""Sharing batches of drawings out over processes, without repeats."""

from collections.abc import Iterator, Sequence

from torch.utils.data import Sampler

from idgen.sampling import DrawingRequest


class ShardedBatches(Sampler[list[int]]):
    """Fixed batches, of which a process takes every world_size-th.

    What is drawn together does not depend on how many processes there are. Processes that run
    out yield empty batches, so that all take the same number of steps.
    """

    def __init__(self, items: int, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        """Splits the items.

        Args:
            items: How many there are.
            batch_size: Items a batch.
            rank: This process.
            world_size: How many processes there are.
        """
        self._batches = [
            list(range(start, min(start + batch_size, items)))
            for start in range(0, items, batch_size)
        ]
        self._rank = rank
        self._world_size = world_size

    def __len__(self) -> int:
        return -(-len(self._batches) // self._world_size)

    def __iter__(self) -> Iterator[list[int]]:
        mine = self._batches[self._rank :: self._world_size]
        yield from mine
        yield from ([] for _ in range(len(self) - len(mine)))


def drawing_requests(
    prompts: Sequence[tuple[str, str]], images_per_prompt: int, seed: int
) -> list[DrawingRequest]:
    """Every image of a suite, prompt by prompt.

    Args:
        prompts: Prompt with the subject's token, and without it.
        images_per_prompt: Images of each.
        seed: The suite's seed.
    """
    return [
        DrawingRequest(prompt, plain, index, number, seed)
        for index, (prompt, plain) in enumerate(prompts)
        for number in range(images_per_prompt)
    ]
