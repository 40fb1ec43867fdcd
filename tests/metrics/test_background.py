import math

import pytest
import torch
from torch.nn.functional import normalize

from idgen.metrics.background import BackgroundAccuracy, background_hits, scene_prototypes


def embeddings(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)) * 3


def test_by_hand() -> None:
    scenes = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    drawings = torch.tensor([[5.0, 1.0], [1.0, 5.0], [1.0, 5.0]])
    assert background_hits(drawings, scenes, torch.tensor([0, 1, 0])).tolist() == [1, 1, 0]


def test_a_scenes_texts_count_alike_whatever_their_length() -> None:
    texts = torch.tensor([[10.0, 0.0], [0.0, 0.1], [0.0, -1.0]])
    found = scene_prototypes(texts, [0, 0, 1])
    half = 0.5**0.5
    expected = torch.tensor([[half, half], [0.0, -1.0]], dtype=torch.float64)
    torch.testing.assert_close(found, expected)


def test_accuracy_equals_a_softmax_classifiers_in_any_batches() -> None:
    drawings, scenes = embeddings(25, 0), embeddings(4, 1)
    asked = torch.arange(25) % 4
    logits = 100 * normalize(drawings, dim=1) @ normalize(scenes, dim=1).T
    expected = (logits.softmax(1).argmax(1) == asked).double().mean()
    metric = BackgroundAccuracy()
    for batch in torch.split(torch.arange(25).flip(0), 4):
        metric.update(drawings[batch], scenes, asked[batch])
    assert metric.compute().item() == pytest.approx(expected.item())


def test_a_diverged_drawing_is_nan() -> None:
    hits = background_hits(torch.full((1, 6), torch.nan), embeddings(4, 1), torch.tensor([0]))
    assert math.isnan(hits.item())


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="one a drawing"):
        background_hits(embeddings(2, 0), embeddings(4, 1), torch.tensor([0]))
    with pytest.raises(ValueError, match="one encoder"):
        background_hits(embeddings(2, 0), embeddings(4, 1)[:, :3], torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="none left out"):
        scene_prototypes(embeddings(2, 0), [0, 2])
