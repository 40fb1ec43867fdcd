import pytest
import torch
from torch import Tensor

from idgen.metrics.poses import PoseCopying, mask_overlaps, photo_pose_hits


def box(top: int, left: int, high: int, wide: int) -> Tensor:
    mask = torch.zeros(12, 12, dtype=torch.bool)
    mask[top : top + high, left : left + wide] = True
    return mask


def test_overlaps_by_hand() -> None:
    masks = torch.stack([box(0, 0, 4, 4), box(0, 0, 0, 0)])
    others = torch.stack([box(0, 0, 4, 4), box(2, 2, 4, 4), box(6, 6, 2, 2), box(0, 0, 0, 0)])
    expected = [[1, 4 / 28, 0, 0], [0, 0, 0, 0]]
    torch.testing.assert_close(
        mask_overlaps(masks, others), torch.tensor(expected, dtype=torch.float64)
    )


def test_overlaps_equal_sets_of_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(5, 6, 7, generator=generator) > 0.5
    others = torch.rand(4, 6, 7, generator=generator) > 0.3
    found = mask_overlaps(masks, others)
    for b, mask in enumerate(masks):
        for k, other in enumerate(others):
            one = {tuple(at) for at in mask.nonzero().tolist()}
            two = {tuple(at) for at in other.nonzero().tolist()}
            assert found[b, k].item() == pytest.approx(len(one & two) / len(one | two))


def test_a_photos_pose_is_nearest_to_itself() -> None:
    photos = torch.stack([box(0, 0, 5, 3), box(3, 6, 4, 4)])
    others = torch.stack([box(1, 1, 6, 6), box(6, 0, 5, 3)])
    drawn = torch.stack([box(0, 1, 5, 3), box(6, 1, 5, 3), box(3, 6, 4, 5), others[0]])
    assert photo_pose_hits(drawn, photos, others).tolist() == [1, 0, 1, 0]
    metric = PoseCopying()
    metric.update(drawn, photos, others)
    metric.update(drawn[:0], photos, others)
    assert metric.compute().item() == 0.5


def test_poses_that_know_nothing_of_the_photos_are_hit_by_chance_alone() -> None:
    generator = torch.Generator().manual_seed(0)

    def poses(count: int) -> Tensor:
        corners = torch.randint(0, 8, (count, 2), generator=generator).tolist()
        sides = torch.randint(2, 5, (count, 2), generator=generator).tolist()
        return torch.stack([box(*c, *s) for c, s in zip(corners, sides, strict=True)])

    rates = [photo_pose_hits(poses(20), poses(5), poses(15)).mean().item() for _ in range(60)]
    # Ties, which such coarse boxes have, are no hits.
    assert 0.12 < sum(rates) / len(rates) <= 0.27


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one mask"):
        photo_pose_hits(box(0, 0, 1, 1)[None], box(0, 0, 1, 1)[None], torch.empty(0, 12, 12).bool())
    with pytest.raises(ValueError, match="others: bool masks"):
        mask_overlaps(box(0, 0, 1, 1)[None], torch.zeros(1, 12, 13, dtype=torch.bool))
    with pytest.raises(ValueError, match="masks: bool masks"):
        mask_overlaps(torch.zeros(1, 12, 12), box(0, 0, 1, 1)[None])
