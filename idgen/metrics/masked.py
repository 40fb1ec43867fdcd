"""Masked DINO and masked CLIP-I: the subject alone against the subject alone.

DINO and CLIP-I compare whole pictures, so a drawing that repeats a photo's background scores
higher for it. Here everything but the subject is one grey in both pictures. The idea is that of
subject-alignment (Kim, Park, Rhee, 2024, arXiv 2403.15330, equation 1), which masks photos alone
and blackens them.
"""

from torch import Tensor

from idgen.masks import Mask, Picture, cut_out
from idgen.metrics.similarity import MeanScore, mean_reference_similarity


def subject_square(image: Picture, mask: Mask) -> Tensor:
    """The subject on grey, in its own square with a margin of a tenth of its length.

    DINO's centre crop takes a sixteenth off each side of it: less than the margin.

    Args:
        image: ``H W 3``, uint8.
        mask: ``H W``, True on the subject, which has to be somewhere.

    Returns:
        ``3 S S``, uint8.

    Raises:
        ValueError: If the mask is empty, or of another size.
    """
    if mask.shape != image.shape[:2] or not mask.any():
        what = "is empty" if mask.shape == image.shape[:2] else f"is {mask.shape}"
        raise ValueError(f"mask: one of the subject in {image.shape[:2]} is needed, it {what}")
    return cut_out(image, mask)


def masked_similarity(drawings: Tensor, photos: Tensor) -> Tensor:
    r"""Each drawing's subject's mean cosine to the subject in every photo.

    .. math:: s_b = \frac{1}{R} \sum_r \cos(f(m(g_b)), f(m(x_r)))

    with m = `subject_square` and f DINO or CLIP. It takes embeddings of the squares of drawings,
    ``B E``, and photos, ``R E``; it returns and raises what `mean_reference_similarity` does.
    """
    return mean_reference_similarity(drawings, photos)


class MaskedSimilarity(MeanScore):
    """Mean over drawings of `masked_similarity`: masked DINO or masked CLIP-I, by the encoder.

    Range [-1, 1], higher is more like the subject, whatever stands behind it. Drawings in which
    no subject is found have no masked score, and do not count.
    """

    each = staticmethod(masked_similarity)
