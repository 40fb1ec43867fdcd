import math

import pytest
import torch
from torch.nn.functional import cosine_similarity

from idgen.metrics.identity import IdentityAccuracy, identity_hits, nearest_identity


def embeddings(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 3


def test_the_nearest_picture_decides_by_hand() -> None:
    candidates = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [-1.0, 0.0]]])
    subjects = torch.tensor([[0.1, 5.0], [2.0, 1.9], [-3.0, 0.2], [4.0, 0.1]])
    assert nearest_identity(subjects, candidates).tolist() == [0, 1, 1, 0]
    assert identity_hits(subjects, candidates, right=0).tolist() == [1, 0, 0, 1]


def test_it_equals_torchs_cosines_in_any_order_and_batches() -> None:
    subjects, candidates = embeddings(30, 8, seed=0), embeddings(6, 3, 8, seed=1)
    cosines = cosine_similarity(subjects[:, None, None], candidates[None], dim=3)
    expected = cosines.flatten(1).argmax(1) // 3
    torch.testing.assert_close(nearest_identity(subjects, candidates), expected)
    metric = IdentityAccuracy()
    for batch in torch.split(subjects.flip(0), 7):
        metric.update(batch, candidates, 2)
    assert metric.compute().item() == pytest.approx((expected == 2).double().mean().item())


def test_a_diverged_drawing_is_nan_and_none_is_none() -> None:
    candidates = embeddings(3, 2, 4, seed=0)
    subjects = torch.full((1, 4), torch.nan)
    assert math.isnan(identity_hits(subjects, candidates, 0).item())
    assert identity_hits(embeddings(0, 4, seed=0), candidates, 0).shape == (0,)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="I K 4"):
        nearest_identity(embeddings(2, 4, seed=0), embeddings(3, 2, 5, seed=0))
    with pytest.raises(ValueError, match="I K 4"):
        nearest_identity(embeddings(2, 4, seed=0), embeddings(0, 2, 4, seed=0))
