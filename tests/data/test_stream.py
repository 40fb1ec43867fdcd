from collections import Counter
from collections.abc import Sequence

import pytest
import torch

from idgen.data.batch import SubjectBatch
from idgen.data.stream import EndlessOrder, SubjectStream
from idgen.models.decoupling import PhotoFeatures

ALIKE = ((8, 8),) * 5
MIXED = ((8, 8), (4, 16), (8, 8), (8, 8), (16, 4), (4, 16))


def collate(indices: list[int], position: int) -> SubjectBatch:
    rows = torch.tensor(indices)
    prompts = ("a dog",) * len(indices)
    return SubjectBatch(rows, rows, rows, PhotoFeatures(rows, rows), prompts, prompts, position)


def stream(
    batch: int = 2,
    rank: int = 0,
    world: int = 1,
    seed: int = 0,
    shapes: Sequence[tuple[int, ...]] = ALIKE,
) -> SubjectStream:
    return SubjectStream(collate, shapes, batch, 4, seed, rank, world)


def epoch(loader: SubjectStream) -> list[list[int]]:
    return [batch.latent_mean.tolist() for batch in loader]


def test_every_lap_shows_every_view_once() -> None:
    shown = [index for position in range(5) for index in stream().indices(position)]
    assert sorted(shown[:5]) == sorted(shown[5:]) == [0, 1, 2, 3, 4]


def test_it_goes_on_where_its_state_says() -> None:
    loader = stream()
    whole = epoch(loader) + epoch(loader)
    assert len(whole) == 8
    stopped = stream()
    iterator = iter(stopped)
    head = [next(iterator).latent_mean.tolist() for _ in range(3)]
    resumed = stream()
    resumed.load_state_dict(stopped.state_dict())
    assert head + epoch(resumed) + epoch(resumed) == whole


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_one_global_batch(world: int) -> None:
    alone = stream(batch=2 * world)
    for position in range(6):
        parts = [stream(2, rank, world).indices(position) for rank in range(world)]
        assert [index for part in parts for index in part] == alone.indices(position)


def test_another_seed_is_another_order() -> None:
    orders = {str([stream(seed=seed).indices(p) for p in range(5)]) for seed in range(5)}
    assert len(orders) == 5


@pytest.mark.parametrize("world", [1, 2])
def test_a_batch_is_of_one_shape_and_every_view_comes_up_as_often(world: int) -> None:
    """In a lap, as long as there are views, each comes up once for every row of a batch."""
    lap = range(7 * len(MIXED), 8 * len(MIXED))
    parts = [
        [stream(3, rank, world, shapes=MIXED).indices(p) for rank in range(world)] for p in lap
    ]
    for of_all in parts:
        assert len({MIXED[view] for part in of_all for view in part}) == 1
    shown = Counter(view for of_all in parts for part in of_all for view in part)
    assert shown == dict.fromkeys(range(len(MIXED)), 3 * world)


def test_shapes_take_turns_by_chance_and_go_on_where_they_were() -> None:
    firsts = [stream(2, shapes=MIXED).indices(p)[0] for p in range(24)]
    turns = [MIXED[view] for view in firsts]
    assert turns[:6] != turns[6:12]
    loader = stream(2, shapes=MIXED)
    whole = epoch(loader) + epoch(loader)
    resumed = stream(2, shapes=MIXED)
    resumed.load_state_dict({"position": 5})
    assert epoch(resumed) == whole[5:]


def test_views_of_one_shape_come_as_they_did_before_there_were_shapes() -> None:
    order = EndlessOrder(5, 2, 0)
    assert [stream().indices(p) for p in range(40)] == [order.indices(p) for p in range(40)]
