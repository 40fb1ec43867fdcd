import math

import pytest
import torch

from idgen.metrics.antonyms import AntonymPreference, antonym_preference


def test_it_equals_a_softmax_over_both_texts() -> None:
    generator = torch.Generator().manual_seed(0)
    drawings, good, bad = (torch.randn(n, 6, generator=generator) for n in (5, 1, 1))
    cosines = torch.stack(
        [torch.nn.functional.cosine_similarity(drawings, text) for text in (good, bad)], dim=1
    )
    expected = (cosines.double() * 20).softmax(dim=1)[:, 0]
    found = antonym_preference(drawings, good, bad, 20)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(antonym_preference(drawings, bad, good, 20), 1 - found)
    metric = AntonymPreference()
    for batch in torch.split(drawings, 2):
        metric.update(batch, good, bad, 20)
    assert metric.compute().item() == pytest.approx(found.mean().item())


def test_a_diverged_drawing_is_nan_and_wrong_shapes_are_refused() -> None:
    one = torch.ones(1, 3)
    assert math.isnan(antonym_preference(one * torch.nan, one, -one, 1).item())
    with pytest.raises(ValueError, match="good: one embedding"):
        antonym_preference(one, torch.ones(2, 3), one, 1)
    with pytest.raises(ValueError, match="bad: width 2"):
        antonym_preference(one, one, torch.ones(1, 2), 1)
