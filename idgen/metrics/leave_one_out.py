"""A subject's photos against each other: what DINO and CLIP-I, whole and masked, can come to.

Drawings are compared with every photo. So are the photos here, but for the one with itself, whose
cosine is 1 and says nothing.
"""

import torch
from torch import Tensor

from idgen.metrics.similarity import MeanScore, require_embeddings, unit


def leave_one_out_similarity(photos: Tensor) -> Tensor:
    r"""Each photo's mean cosine to the subject's other photos.

    .. math:: s_r = \frac{1}{R - 1} \sum_{q \neq r}
        \frac{p_r \cdot p_q}{\lVert p_r \rVert \lVert p_q \rVert}

    Their mean is that over all ordered pairs of two photos.

    Args:
        photos: Embeddings of the subject's photos, ``R E``, of any length and floating type.

    Returns:
        ``R`` cosines in [-1, 1] as float64; none, of shape ``0``, if R is 0 or 1: a photo without
        others has no such score. A zero vector has cosine 0 to everything.

    Raises:
        ValueError: If the shape or type is another.
    """
    require_embeddings("photos", photos)
    count = len(photos)
    if count < 2:
        return photos.new_empty(0, dtype=torch.float64)
    cosines = unit(photos) @ unit(photos).T
    itself = torch.eye(count, dtype=torch.bool, device=photos.device)
    return cosines.masked_fill(itself, 0.0).sum(dim=1) / (count - 1)


class LeaveOneOutSimilarity(MeanScore):
    """Mean over photos of `leave_one_out_similarity`: DINO or CLIP-I, by the encoder.

    Range [-1, 1]. What drawings can be expected to come to at best; those above it are more like
    the photos than these are like each other, as copies are. A subject with one photo adds
    nothing, so that the mean may not exist.
    """

    each = staticmethod(leave_one_out_similarity)
