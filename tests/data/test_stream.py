import pytest
import torch

from idgen.data.batch import SubjectBatch
from idgen.data.stream import SubjectStream
from idgen.models.decoupling import PhotoFeatures


def collate(indices: list[int], position: int) -> SubjectBatch:
    rows = torch.tensor(indices)
    prompts = ("a dog",) * len(indices)
    return SubjectBatch(rows, rows, rows, PhotoFeatures(rows, rows), prompts, prompts, position)


def stream(batch: int = 2, rank: int = 0, world: int = 1, seed: int = 0) -> SubjectStream:
    return SubjectStream(collate, 5, batch, 4, seed, rank, world)


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
