import pytest

from idgen.data.shard import ShardedBatches, drawing_requests


@pytest.mark.parametrize("world", [1, 2, 3, 7])
@pytest.mark.parametrize("items", [0, 1, 5, 12])
def test_all_are_drawn_once_in_the_same_batches(items: int, world: int) -> None:
    alone = [batch for batch in ShardedBatches(items, 3) if batch]
    shards = [list(ShardedBatches(items, 3, rank, world)) for rank in range(world)]
    assert len({len(shard) for shard in shards}) == 1
    shared = [batch for shard in shards for batch in shard if batch]
    assert sorted(shared) == alone
    assert sorted(index for batch in shared for index in batch) == list(range(items))


def test_requests_are_prompt_by_prompt() -> None:
    requests = drawing_requests([("a sks dog", "a dog"), ("sks", "")], 2, seed=7)
    assert [(r.prompt_index, r.number) for r in requests] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert {r.seed for r in requests} == {7}
