import pytest
import torch
from torch.nn.functional import cosine_similarity

from idgen.metrics.copying import Copying, nearest_reference_similarity
from idgen.metrics.similarity import mean_reference_similarity


def embeddings(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, 12, generator=torch.Generator().manual_seed(seed)) * 3


def test_the_nearest_photo_counts_by_hand() -> None:
    drawings = torch.tensor([[2.0, 0.0], [3.0, 4.0], [-1.0, 0.0]])
    photos = torch.tensor([[1.0, 0.0], [0.0, 5.0]])
    expected = torch.tensor([1.0, 0.8, 0.0], dtype=torch.float64)
    torch.testing.assert_close(nearest_reference_similarity(drawings, photos), expected)


def test_copying_equals_torchs_cosines_in_any_order_and_batches() -> None:
    drawings, photos = embeddings(9, 0), embeddings(4, 1)
    expected = cosine_similarity(drawings[:, None], photos[None], dim=2).amax(1).double().mean()
    together, backwards = Copying(), Copying()
    together.update(drawings, photos)
    for batch in torch.split(drawings.flip(0), 4):
        backwards.update(batch, photos.flip(0))
    assert together.compute() == pytest.approx(expected.item(), abs=1e-6)
    assert backwards.compute() == pytest.approx(together.compute().item(), abs=1e-12)


def test_a_copy_of_one_photo_has_1_and_never_less_than_the_mean() -> None:
    drawings, photos = embeddings(5, 0), embeddings(4, 1)
    torch.testing.assert_close(
        nearest_reference_similarity(photos[2:3] * 7, photos), torch.ones(1, dtype=torch.float64)
    )
    nearest = nearest_reference_similarity(drawings, photos)
    assert (nearest >= mean_reference_similarity(drawings, photos)).all()


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        nearest_reference_similarity(embeddings(2, 0), embeddings(0, 0))
    with pytest.raises(ValueError, match="one encoder"):
        nearest_reference_similarity(embeddings(2, 0), embeddings(2, 0)[:, :3])
