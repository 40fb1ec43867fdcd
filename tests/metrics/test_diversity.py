import itertools
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from idgen.metrics.diversity import Diversity, prompt_diversity

from .processes import in_processes

WIDTH, PROMPTS, IMAGES = 12, 4, 5


def embeddings(count: int, seed: int) -> Tensor:
    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed)) * 3


def by_pairs(drawings: Tensor) -> float:
    pairs = list(itertools.combinations(drawings.double(), 2))
    return sum(1 - cosine_similarity(a, b, dim=0).item() for a, b in pairs) / len(pairs)


def suite() -> tuple[Tensor, Tensor]:
    prompts = torch.arange(PROMPTS).repeat_interleave(IMAGES)
    return embeddings(PROMPTS * IMAGES, 0), prompts


def test_by_hand() -> None:
    right_angle = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    assert prompt_diversity(right_angle).item() == pytest.approx(1.0)
    assert prompt_diversity(torch.tensor([[1.0, 0.0], [-5.0, 0.0]])).item() == pytest.approx(2.0)
    three = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert prompt_diversity(three).item() == pytest.approx(2 / 3)


def test_it_is_the_mean_over_pairs_and_then_over_prompts() -> None:
    drawings, prompts = suite()
    expected = [by_pairs(drawings[prompts == p]) for p in range(PROMPTS)]
    for prompt, value in enumerate(expected):
        found = prompt_diversity(drawings[prompts == prompt])
        assert found.item() == pytest.approx(value, abs=1e-12)
    metric = Diversity(PROMPTS, WIDTH)
    metric.update(drawings, prompts)
    assert metric.compute().item() == pytest.approx(sum(expected) / PROMPTS, abs=1e-12)
    assert metric.by_prompt().tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("batch_size", [1, 3, 20])
def test_order_and_batches_do_not_matter(batch_size: int) -> None:
    drawings, prompts = suite()
    whole, shuffled = Diversity(PROMPTS, WIDTH), Diversity(PROMPTS, WIDTH)
    whole.update(drawings, prompts)
    order = torch.randperm(len(drawings), generator=torch.Generator().manual_seed(batch_size))
    for batch in torch.split(order, batch_size):
        shuffled.update(drawings[batch], prompts[batch])
    assert shuffled.compute().item() == pytest.approx(whole.compute().item(), abs=1e-12)


def test_equal_drawings_have_none_and_a_zero_one_is_far_from_all() -> None:
    same = embeddings(1, 0).expand(4, -1)
    assert prompt_diversity(same).item() == pytest.approx(0.0, abs=1e-12)
    assert prompt_diversity(same).item() >= 0
    with_zero = torch.cat([embeddings(2, 0), torch.zeros(1, WIDTH)])
    assert prompt_diversity(with_zero).item() == pytest.approx(by_pairs(with_zero), abs=1e-9)


def test_one_drawing_has_no_diversity_and_does_not_count() -> None:
    assert math.isnan(prompt_diversity(embeddings(1, 0)).item())
    metric = Diversity(3, WIDTH)
    metric.update(embeddings(1, 0), torch.tensor([1]))
    assert math.isnan(metric.compute().item())
    metric.update(embeddings(3, 1), torch.tensor([0, 0, 0]))
    assert metric.compute().item() == pytest.approx(by_pairs(embeddings(3, 1)), abs=1e-12)
    assert metric.several().tolist() == [True, False, False]


def test_a_diverged_drawing_makes_it_nan() -> None:
    drawings, prompts = suite()
    drawings[3, 0] = torch.nan
    metric = Diversity(PROMPTS, WIDTH)
    metric.update(drawings, prompts)
    assert math.isnan(metric.compute().item())


def test_states_stay_exact_in_a_half_precision_module() -> None:
    metric = Diversity(PROMPTS, WIDTH)
    torch.nn.ModuleDict({"diversity": metric}).to(torch.bfloat16)
    assert metric.sums.dtype == torch.float64
    assert metric.counts.dtype == torch.int64


def test_wrong_shapes_are_refused() -> None:
    metric = Diversity(PROMPTS, WIDTH)
    with pytest.raises(ValueError, match="drawings and prompts"):
        metric.update(embeddings(2, 0), torch.tensor([0]))
    with pytest.raises(ValueError, match="drawings and prompts"):
        metric.update(embeddings(2, 0)[:, :5], torch.tensor([0, 1]))


def shard(rank: int, world: int) -> Tensor:
    drawings, prompts = suite()
    metric = Diversity(PROMPTS, WIDTH)
    # A prompt's drawings lie on all processes, and not evenly.
    metric.update(drawings[rank::world], prompts[rank::world])
    return torch.cat([metric.compute()[None], metric.by_prompt(), metric.several().double()])


@pytest.mark.parametrize("world", [2, 3])
def test_processes_agree_with_one(world: int, tmp_path: Path) -> None:
    alone = shard(0, 1)
    for found in in_processes(world, tmp_path, shard):
        torch.testing.assert_close(found, alone, atol=1e-12, rtol=0)
