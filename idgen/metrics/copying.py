"""Copying: how near drawings come to a photo that was trained on."""

from torch import Tensor

from idgen.metrics.similarity import MeanScore, require_references, unit


def nearest_reference_similarity(drawings: Tensor, references: Tensor) -> Tensor:
    r"""Each drawing's largest cosine to any photo.

    .. math:: c_b = \max_r \frac{d_b \cdot p_r}{\lVert d_b \rVert \lVert p_r \rVert}

    Args:
        drawings: DINO embeddings of drawings, ``B E``, of any length and type. B may be 0.
        references: DINO embeddings of the photos that were trained on, ``R E``, R at least 1.

    Returns:
        ``B`` cosines in [-1, 1] as float64. A zero vector has cosine 0 to everything.

    Raises:
        ValueError: If the shapes do not fit, or there is no reference.
    """
    require_references(drawings, references)
    return (unit(drawings) @ unit(references).T).amax(dim=1)


class Copying(MeanScore):
    """Mean over drawings of `nearest_reference_similarity`.

    Range [-1, 1]; 1 is reached by a model that returns its photos. It is never below DINO, and
    what it lies above DINO by tells a copy of one photo from likeness to all of them.
    """

    higher_is_better = False

    each = staticmethod(nearest_reference_similarity)
