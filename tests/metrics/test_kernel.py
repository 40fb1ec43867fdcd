import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from idgen.metrics.kernel import KernelDistance, kernel_distance
from tests.metrics.processes import in_processes


def embeddings(count: int, seed: int, width: int = 6) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)) * 3


DRAWINGS, OF = embeddings(11, 0), torch.tensor([0, 0, 0, 1, 1, 2, 3, 3, 3, 3, 7])
REFERENCES, OF_REFERENCES = embeddings(9, 1), torch.tensor([0, 0, 1, 1, 2, 3, 3, 5, 5])


def by_loops(drawings: Tensor, of: Tensor, references: Tensor, of_references: Tensor) -> float:
    """The same by double loops over prompts and pictures."""

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / math.sqrt((a @ a) * (b @ b)) + 1) ** 3)

    x, y = drawings.double().numpy(), references.double().numpy()
    prompts = sorted(set(of.tolist()) & set(of_references.tolist()))
    values = []
    for p, q in itertools.permutations(prompts, 2):
        xp, xq = x[of.numpy() == p], x[of.numpy() == q]
        yp, yq = y[of_references.numpy() == p], y[of_references.numpy() == q]
        values.append(
            np.mean([kernel(a, b) for a in xp for b in xq])
            + np.mean([kernel(a, b) for a in yp for b in yq])
            - np.mean([kernel(a, b) for a in xp for b in yq])
            - np.mean([kernel(a, b) for a in yp for b in xq])
        )
    return float(np.mean(values))


def test_it_equals_double_loops() -> None:
    found = kernel_distance(DRAWINGS, OF, REFERENCES, OF_REFERENCES)
    expected = by_loops(DRAWINGS, OF, REFERENCES, OF_REFERENCES)
    assert found.item() == pytest.approx(expected, abs=1e-9)


def worlds(prompts: int, each: int, seed: int, shift: float = 0.0) -> tuple[Tensor, Tensor]:
    """Pictures of prompts that differ, around each prompt's own middle."""
    middles = embeddings(prompts, 99)
    noise = embeddings(prompts * each, seed) * 0.5
    of = torch.arange(prompts).repeat_interleave(each)
    pictures = middles[of] + noise
    pictures[:, 0] += shift
    return pictures, of


def test_right_drawings_are_at_zero_on_average_however_many_a_prompt() -> None:
    for each in (1, 3):
        found = [
            kernel_distance(*worlds(12, each, seed), *worlds(12, 4, 1000 + seed)).item()
            for seed in range(40)
        ]
        error = np.std(found) / math.sqrt(len(found))
        assert abs(np.mean(found)) < 4 * error, each


def test_what_all_drawings_have_in_common_and_references_lack_is_found() -> None:
    references = worlds(12, 4, 1000)
    near, far = (kernel_distance(*worlds(12, 2, 0, by), *references).item() for by in (3.0, 9.0))
    right = [kernel_distance(*worlds(12, 2, seed), *references).item() for seed in range(20)]
    assert max(right) < near < far


def test_one_prompt_has_no_distance() -> None:
    one = torch.zeros(3, dtype=torch.int64)
    assert math.isnan(kernel_distance(DRAWINGS[:3], one, REFERENCES[:3], one))
    metric = KernelDistance(6)
    metric.update(DRAWINGS[:3], one, REFERENCES[:3], one)
    assert metric.distance() is None
    metric.update(DRAWINGS[3:4] * torch.nan, one[:1] + 1, REFERENCES[3:4], one[:1] + 1)
    distance = metric.distance()
    assert distance is not None
    assert math.isnan(distance)
    metric.reset()
    assert metric.distance() is None


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="a prompt each"):
        kernel_distance(DRAWINGS, OF[:3], REFERENCES, OF_REFERENCES)
    with pytest.raises(ValueError, match="references: width"):
        kernel_distance(DRAWINGS, OF, REFERENCES[:, :3], OF_REFERENCES)
    with pytest.raises(ValueError, match="drawings: width 4"):
        KernelDistance(4).update(DRAWINGS, OF, REFERENCES, OF_REFERENCES)


def gathered(rows: list[int], prompts: list[int]) -> float:
    metric = KernelDistance(6)
    here = [n for n, prompt in enumerate(OF_REFERENCES.tolist()) if prompt in prompts]
    for row in rows:
        none = REFERENCES[:0], OF_REFERENCES[:0]
        metric.update(DRAWINGS[row : row + 1], OF[row : row + 1], *none)
    metric.update(DRAWINGS[:0], OF[:0], REFERENCES[here], OF_REFERENCES[here])
    return metric.distance() or 0.0


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_agree_with_one(processes: int, tmp_path: Path) -> None:
    """Shared out unevenly, the last process without a drawing, some references on two of them."""
    whole = kernel_distance(DRAWINGS, OF, REFERENCES, OF_REFERENCES)

    def shard(rank: int, world: int) -> Tensor:
        if rank == world - 1:
            return torch.tensor(KernelDistance(6).distance(), dtype=torch.float64)
        rows = list(range(len(OF)))[rank :: world - 1]
        return torch.tensor(gathered(rows, [0, 1, 5] if rank else [0, 1, 2, 3, 5]))

    for found in in_processes(processes, tmp_path, shard):
        assert found.item() == pytest.approx(whole.item(), abs=1e-6)
