import numpy as np
import pytest
import torch

from idgen.metrics.attributes import fit_probe


def test_it_equals_ridge_regression_with_a_free_intercept() -> None:
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(60, 5, generator=generator, dtype=torch.float64) * 2 + 1
    answers = torch.randint(0, 3, (60,), generator=generator)
    probe = fit_probe(embeddings, answers, 3, 0.01)
    x, y = embeddings.numpy(), np.eye(3)[answers.numpy()]
    shrinkage = 0.01 * len(x) * x.var(axis=0).mean()
    # Augmented least squares: the intercept is not shrunk.
    design = np.vstack(
        [
            np.hstack([x, np.ones((60, 1))]),
            np.hstack([np.sqrt(shrinkage) * np.eye(5), np.zeros((5, 1))]),
        ]
    )
    solved = np.linalg.lstsq(design, np.vstack([y, np.zeros((5, 3))]), rcond=None)[0]
    np.testing.assert_allclose(probe.weights.numpy(), solved[:5], atol=1e-9)
    np.testing.assert_allclose(probe.bias.numpy(), solved[5], atol=1e-9)
    new = torch.randn(20, 5, generator=generator)
    expected = (new.double().numpy() @ solved[:5] + solved[5]).argmax(axis=1)
    assert probe.answers(new).tolist() == expected.tolist()
    assert probe.answers(new[:0]).shape == (0,)


def test_the_length_of_embeddings_does_not_matter() -> None:
    generator = torch.Generator().manual_seed(1)
    embeddings = torch.randn(40, 4, generator=generator)
    answers = torch.randint(0, 2, (40,), generator=generator)
    short, long = (fit_probe(embeddings * by, answers, 2) for by in (1, 50))
    torch.testing.assert_close(long.weights * 50, short.weights)
    torch.testing.assert_close(long.bias, short.bias)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="one an embedding"):
        fit_probe(torch.zeros(3, 2), torch.zeros(2, dtype=torch.int64), 2)
    probe = fit_probe(torch.eye(3), torch.tensor([0, 1, 1]), 2)
    with pytest.raises(ValueError, match="embeddings: width 2"):
        probe.answers(torch.zeros(1, 2))
