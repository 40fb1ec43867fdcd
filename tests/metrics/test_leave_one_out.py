"""Photos against each other, by hand, by numpy, and in several processes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from idgen.metrics.leave_one_out import LeaveOneOutSimilarity, leave_one_out_similarity
from tests.metrics.processes import in_processes

WIDTH = 24


def embeddings(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, WIDTH, generator=generator) * 3


def over_ordered_pairs(photos: Tensor) -> float:
    each = photos.numpy().astype(np.float64)
    pairs = [
        a @ b / np.sqrt((a @ a) * (b @ b))
        for at, a in enumerate(each)
        for other, b in enumerate(each)
        if at != other
    ]
    return float(np.mean(pairs))


def test_by_hand() -> None:
    # Directions 0, 90 and atan(4/3) degrees, of any length: cosines 0, 0.6 and 0.8.
    photos = torch.tensor([[2.0, 0.0], [0.0, 5.0], [3.0, 4.0]])
    expected = torch.tensor([0.3, 0.4, 0.7], dtype=torch.float64)
    torch.testing.assert_close(leave_one_out_similarity(photos), expected)


@pytest.mark.parametrize("count", [2, 3, 6])
def test_the_mean_is_over_ordered_pairs_whatever_their_order(count: int) -> None:
    photos = embeddings(count, count)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(1))
    scores = leave_one_out_similarity(photos)
    assert scores.mean().item() == pytest.approx(over_ordered_pairs(photos), abs=1e-12)
    torch.testing.assert_close(leave_one_out_similarity(photos[order]), scores[order])


def test_a_photo_is_not_compared_with_itself() -> None:
    opposite = torch.tensor([[1.0, 0.0], [-2.0, 0.0]])
    assert leave_one_out_similarity(opposite).tolist() == [-1.0, -1.0]
    lost = torch.cat([embeddings(1, 0), torch.zeros(1, WIDTH)])
    assert leave_one_out_similarity(lost).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("count", [0, 1])
def test_without_others_there_is_no_score(count: int) -> None:
    metric = LeaveOneOutSimilarity()
    metric.update(embeddings(count, 0))
    assert len(leave_one_out_similarity(embeddings(count, 0))) == 0
    assert metric.mean() is None


def test_other_shapes_are_refused() -> None:
    for wrong in (embeddings(3, 0)[0], embeddings(3, 0).long()):
        with pytest.raises(ValueError, match="photos: floating-point"):
            leave_one_out_similarity(wrong)


@pytest.mark.parametrize("world", [2, 3])
def test_it_does_not_depend_on_the_number_of_processes(world: int, tmp_path: Path) -> None:
    subjects = [embeddings(count, count) for count in (3, 1, 5, 2)]

    def shard(rank: int, processes: int) -> Tensor:
        metric = LeaveOneOutSimilarity()
        for subject in subjects[rank::processes]:
            metric.update(subject)
        return metric.compute()

    each = torch.cat([leave_one_out_similarity(subject) for subject in subjects])
    for mean in in_processes(world, tmp_path, shard):
        assert mean.item() == pytest.approx(each.mean().item(), abs=1e-12)
