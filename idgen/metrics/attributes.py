"""Attributes: is the colour, or what is worn, the one that was asked for?

A linear probe (Radford et al., 2021, arXiv 2103.00020, section 3.2) on the scores' frozen
embeddings answers, and only where pictures with every answer are at hand to fit it: the mini world
draws them. Nearest pictures, which tell individuals, do not tell an individual's parts: they know
the colour of an individual in the gallery, and often miss that of another.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from idgen.metrics.similarity import require_embeddings, require_same_width


@dataclass(frozen=True)
class LinearProbe:
    """A linear classifier of embeddings.

    Attributes:
        weights: ``E C`` float64.
        bias: ``C`` float64.
    """

    weights: Tensor
    bias: Tensor

    def answers(self, embeddings: Tensor) -> Tensor:
        """The likeliest of C answers, ``B`` int64, for embeddings ``B E``; B may be 0."""
        require_embeddings("embeddings", embeddings)
        require_same_width("embeddings", embeddings, self.weights.T)
        scores = embeddings.double() @ self.weights.to(embeddings.device)
        return (scores + self.bias.to(embeddings.device)).argmax(dim=1)


def fit_probe(
    embeddings: Tensor, answers: Tensor, count: int, shrinkage: float = 1e-3
) -> LinearProbe:
    r"""Ridge regression from embeddings to one-hot answers, both centred.

    .. math:: W = (X^T X + \lambda n \bar v I)^{-1} X^T Y

    with :math:`\bar v` the mean variance of a coordinate, so that the shrinkage means the same for
    embeddings of any length.

    Args:
        embeddings: ``N E``, of a floating type.
        answers: What each shows, ``N`` int64 in [0, C).
        count: C.
        shrinkage: :math:`\lambda`, above 0. On a thousand of the mini world's pictures 1e-4 to
            1e-3 are right most often, 1e-2 in five of a hundred fewer.

    Raises:
        ValueError: If the shapes do not fit, or there are fewer than two embeddings.
    """
    require_embeddings("embeddings", embeddings)
    if answers.shape != embeddings.shape[:1] or len(embeddings) < 2:
        raise ValueError(f"answers: one an embedding is needed, got {tuple(answers.shape)}")
    x, y = embeddings.double(), one_hot(answers, count).double()
    middle, shares = x.mean(dim=0), y.mean(dim=0)
    x, y = x - middle, y - shares
    ridge = shrinkage * x.square().sum() / x.shape[1]
    eye = torch.eye(x.shape[1], dtype=torch.float64, device=x.device)
    weights = torch.linalg.solve(x.T @ x + ridge * eye, x.T @ y)
    return LinearProbe(weights, shares - middle @ weights)
