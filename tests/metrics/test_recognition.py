import numpy as np
import pytest
import torch
from torch import Tensor

from idgen.metrics.recognition import BackgroundIdentity, background_differences, own_ground_hits


def grounds(count: int, seed: int, side: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, side, side), generator=generator, dtype=torch.uint8)


def mask(top: int, left: int, side: int = 8) -> Tensor:
    covered = torch.zeros(side, side, dtype=torch.bool)
    covered[top : top + 3, left : left + 5] = True
    return covered


def test_it_equals_loops_over_cells() -> None:
    drawings, others = grounds(3, 0), grounds(4, 1)
    masks = torch.stack([mask(0, 0), mask(2, 3), mask(5, 1)])
    found = background_differences(drawings, masks, others)
    for b in range(3):
        for k in range(4):
            total = weight = 0.0
            for top in (0, 4):
                for left in (0, 4):
                    cell = np.s_[top : top + 4, left : left + 4]
                    free = ~masks[b].numpy()[cell]
                    a = drawings[b].numpy().astype(float)[:, *cell][:, free]
                    o = others[k].numpy().astype(float)[:, *cell][:, free]
                    total += free.sum() * ((a.mean(1) - o.mean(1)) ** 2).sum() if free.any() else 0
                    weight += free.sum()
            assert found[b, k].item() == pytest.approx(total / weight, rel=1e-5)


def test_a_photos_own_background_is_recognised_whatever_covers_it() -> None:
    own, others = grounds(2, 2, 16), grounds(30, 3, 16)
    masks = torch.stack([mask(2, 3, 16), mask(8, 7, 16), mask(2, 3, 16)])
    drawings = torch.stack([own[0], own[1], others[4]])
    drawings = torch.where(masks[:, None], torch.tensor(200, dtype=torch.uint8), drawings)
    assert own_ground_hits(drawings, masks, own, others).tolist() == [1, 1, 0]
    metric = BackgroundIdentity()
    metric.update(drawings[:2], masks[:2], own, others)
    metric.update(drawings[2:], masks[2:], own, others)
    metric.update(drawings[:0], masks[:0], own, others)
    assert metric.compute().item() == pytest.approx(2 / 3)


def test_a_drawing_that_is_all_subject_shows_no_background() -> None:
    everywhere = torch.ones(1, 8, 8, dtype=torch.bool)
    assert own_ground_hits(grounds(1, 0), everywhere, grounds(1, 0), grounds(2, 1)).tolist() == [0]


def test_wrong_input_is_refused() -> None:
    one = torch.zeros(1, 8, 8, dtype=torch.bool)
    with pytest.raises(ValueError, match="at least one background"):
        own_ground_hits(grounds(1, 0), one, grounds(0, 0), grounds(1, 0))
    with pytest.raises(ValueError, match="masks: bool"):
        background_differences(grounds(2, 0), one, grounds(1, 0))
    with pytest.raises(ValueError, match="grounds: uint8"):
        background_differences(grounds(1, 0), one, grounds(1, 0, 16))
