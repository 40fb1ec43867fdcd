import pytest
import torch

from idgen.metrics.leakage import Leakage, background_leakage


def test_it_is_one_minus_non_subject_disentanglement_of_the_likest_photo() -> None:
    generator = torch.Generator().manual_seed(0)
    drawings, photos = (torch.randn(n, 8, generator=generator) for n in (5, 3))
    unit_drawings = drawings / drawings.norm(dim=1, keepdim=True)
    unit_photos = photos / photos.norm(dim=1, keepdim=True)
    disentangled = [min(1 - float(p @ d) for p in unit_photos) for d in unit_drawings]
    metric = Leakage()
    for batch in torch.split(drawings.flip(0), 2):
        metric.update(batch, photos)
    assert metric.compute().item() == pytest.approx(1 - sum(disentangled) / 5, abs=1e-6)
    assert not metric.higher_is_better


def test_with_one_photo_it_is_sids_measure() -> None:
    photos = torch.tensor([[1.0, 0.0]])
    drawings = torch.tensor([[3.0, 0.0], [0.0, 1.0], [3.0, 4.0]])
    assert background_leakage(drawings, photos).tolist() == pytest.approx([1, 0, 0.6])


def test_a_background_of_any_photo_leaks_wholly() -> None:
    photos = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    leaked = background_leakage(photos * 7, photos)
    torch.testing.assert_close(leaked, torch.ones(3, dtype=torch.float64))


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        background_leakage(torch.ones(2, 3), torch.ones(0, 3))
