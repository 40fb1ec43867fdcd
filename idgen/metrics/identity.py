"""Identity accuracy: is it this subject, among other individuals of its class?

Only where the other individuals are known too: the mini world draws any number of them. It is
the top-1 of retrieval from a gallery, which tells a robot from this robot where a mean
cosine hardly does.
"""

import torch
from torch import Tensor

from idgen.metrics.similarity import MeanScore, require_embeddings, unit


def nearest_identity(subjects: Tensor, candidates: Tensor) -> Tensor:
    r"""Which candidate each subject is most like: that of the nearest picture.

    .. math:: \hat{\imath}_b = \arg\max_i \max_k \cos(d_b, c_{ik})

    Args:
        subjects: DINO embeddings of the drawings' `subject_square`, ``B E``. B may be 0.
        candidates: The same of K pictures of each of I identities, ``I K E``.

    Returns:
        ``B`` int64 in [0, I); the first of equals.

    Raises:
        ValueError: If the shapes do not fit.
    """
    require_embeddings("subjects", subjects)
    if candidates.ndim != 3 or not candidates.numel() or candidates.shape[2] != subjects.shape[1]:
        raise ValueError(
            f"candidates: I K {subjects.shape[1]} is needed, got {tuple(candidates.shape)}"
        )
    identities, pictures, _ = candidates.shape
    cosines = unit(subjects) @ unit(candidates.flatten(0, 1)).T
    return cosines.view(len(subjects), identities, pictures).amax(dim=2).argmax(dim=1)


def identity_hits(subjects: Tensor, candidates: Tensor, right: int) -> Tensor:
    """Whether `nearest_identity`, which says what it takes and raises, finds the right one.

    Args:
        subjects: ``B E``.
        candidates: ``I K E``.
        right: The subject's own place among them.

    Returns:
        ``B`` float64: 1 if it does, else 0; NaN for an embedding with NaN.
    """
    hits = (nearest_identity(subjects, candidates) == right).double()
    return torch.where(subjects.isnan().any(dim=1), torch.nan, hits)


class IdentityAccuracy(MeanScore):
    """Mean over drawings of `identity_hits`.

    Range [0, 1], higher is better; 1 / I is chance: drawings of other individuals reach it.
    """

    plot_lower_bound = 0.0

    each = staticmethod(identity_hits)
