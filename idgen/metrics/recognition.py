"""Background identity: is it one of the photos' very backgrounds that stands behind the subject?

Leakage is a mean likeness, and all grounds are alike to some degree. This is recognition, as
`identity` is for the subject: the photos' own backgrounds stand in a line-up among others that
training was never shown, and the nearest decides. It needs the backgrounds themselves, as the mini
world has them. Pixels tell them apart: the mini CLIP and DINO know a scene, and often take another
variation of it for a photo's very background.
"""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from idgen.metrics.similarity import MeanScore

_CELL = 4
"""Pixels a side; whole cells are compared, so that a shift by a pixel hardly counts."""


def background_differences(drawings: Tensor, masks: Tensor, grounds: Tensor) -> Tensor:
    r"""How far each drawing is from each background, where its subject does not cover it.

    .. math:: D_{bk} = \frac{\sum_c w_c \lVert \bar g_{bc} - \bar o_{kc} \rVert^2}{\sum_c w_c}

    over cells c of 4 x 4 pixels, of which :math:`w_c` is the share that the mask leaves free and
    the bars are means over its free pixels.

    Args:
        drawings: ``B 3 H W`` uint8. B may be 0.
        masks: The subject in each, ``B H W`` bool.
        grounds: Backgrounds without a subject, ``K 3 H W`` uint8.

    Returns:
        ``B K`` float64, in squared levels; infinite where no pixel is free.

    Raises:
        ValueError: If sizes or types do not fit.
    """
    if masks.shape != (len(drawings), *drawings.shape[2:]) or masks.dtype != torch.bool:
        raise ValueError(f"masks: bool, one a drawing, are needed, got {tuple(masks.shape)}")
    for name, pictures in (("drawings", drawings), ("grounds", grounds)):
        if pictures.shape[1:] != (3, *masks.shape[1:]) or pictures.dtype != torch.uint8:
            size = (3, *masks.shape[1:])
            raise ValueError(f"{name}: uint8 of {size} are needed, got {tuple(pictures.shape)}")
    found = torch.empty(len(drawings), len(grounds), dtype=torch.float64, device=drawings.device)
    others = grounds.to(drawings.device).float()
    # One drawing at a time: each looks at every background through its own mask.
    for row, (drawing, mask) in enumerate(zip(drawings.float(), masks, strict=True)):
        free = (~mask).to(others)[None, None]
        share = avg_pool2d(free, _CELL)
        means = avg_pool2d((drawing - others) * free, _CELL) / share.clamp(min=1e-9)
        total = (means.square() * share).sum(dim=(1, 2, 3)).double()
        found[row] = total / share.sum() if share.any() else torch.inf
    return found


def own_ground_hits(drawings: Tensor, masks: Tensor, own: Tensor, others: Tensor) -> Tensor:
    r"""Whether a drawing's background is nearer to one of the photos' than to every other.

    .. math:: h_b = [\min_r D(g_b, o_r) < \min_k D(g_b, c_k)]

    with D of `background_differences`, which says what drawings and masks are.

    Args:
        drawings: ``B 3 H W`` uint8. B may be 0.
        masks: ``B H W`` bool.
        own: The photos' backgrounds, ``R 3 H W`` uint8, R at least 1.
        others: Backgrounds that no photo shows, ``K 3 H W`` uint8, K at least 1.

    Returns:
        ``B`` float64, 1 or 0.

    Raises:
        ValueError: If sizes or types do not fit, or one of the sets is empty.
    """
    if not len(own) or not len(others):
        raise ValueError("own and others: at least one background of each is needed")
    of_own, of_others = (
        background_differences(drawings, masks, grounds).amin(dim=1) for grounds in (own, others)
    )
    return (of_own < of_others).double()


class BackgroundIdentity(MeanScore):
    """Mean over drawings of `own_ground_hits`.

    Range [0, 1], lower is better; a model that returns its photos has 1. A model that draws the
    photos' kinds of scene anew has the share of the photos among the backgrounds of that kind.
    """

    higher_is_better = False
    plot_lower_bound = 0.0

    each = staticmethod(own_ground_hits)
