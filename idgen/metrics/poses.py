"""Pose copying: does a drawing repeat the place, size and turn that a photo shows the subject in?

Masks alone decide, so that no embedding has to know poses: subjects that stand alike cover the
same pixels. The photos' masks stand in a line-up among masks of the same subject in other poses.
"""

import torch
from torch import Tensor

from idgen.metrics.similarity import MeanScore


def mask_overlaps(masks: Tensor, others: Tensor) -> Tensor:
    r"""The intersection over union of all pairs of masks.

    .. math:: \mathrm{IoU}(m, n) = \frac{|m \cap n|}{|m \cup n|}

    Args:
        masks: ``B H W`` bool, True on the subject. B may be 0.
        others: ``K H W`` bool.

    Returns:
        ``B K`` float64 in [0, 1]; 0 of two empty masks.

    Raises:
        ValueError: If they are no masks of one size.
    """
    for name, given in (("masks", masks), ("others", others)):
        if given.ndim != 3 or given.dtype != torch.bool or given.shape[1:] != masks.shape[1:]:
            raise ValueError(
                f"{name}: bool masks of one size are needed, got {given.dtype} {tuple(given.shape)}"
            )
    a, b = masks.flatten(1).double(), others.flatten(1).to(masks.device).double()
    both = a @ b.T
    either = a.sum(dim=1)[:, None] + b.sum(dim=1)[None] - both
    return both / either.clamp(min=1)


def photo_pose_hits(masks: Tensor, photos: Tensor, others: Tensor) -> Tensor:
    r"""Whether a drawing's mask is nearer to that of a photo than to those in other poses.

    .. math:: h_b = [\max_r \mathrm{IoU}(m_b, p_r) > \max_k \mathrm{IoU}(m_b, c_k)]

    Args:
        masks: Of the drawings, ``B H W`` bool. B may be 0.
        photos: Of the photos, ``R H W`` bool, R at least 1.
        others: Of the subject in other poses, ``K H W`` bool, K at least 1.

    Returns:
        ``B`` float64, 1 or 0.

    Raises:
        ValueError: If they are no masks of one size, or one of the sets is empty.
    """
    if not len(photos) or not len(others):
        raise ValueError("photos and others: at least one mask of each is needed")
    of_photos, of_others = (mask_overlaps(masks, m).amax(dim=1) for m in (photos, others))
    return (of_photos > of_others).double()


class PoseCopying(MeanScore):
    """Mean over drawings of `photo_pose_hits`.

    Range [0, 1], lower is better; a model that returns its photos has 1. With R photos among K
    poses from where theirs are from, a model that knows nothing of the photos has R / (R + K).
    """

    higher_is_better = False
    plot_lower_bound = 0.0

    each = staticmethod(photo_pose_hits)
