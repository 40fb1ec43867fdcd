"""Quality without a reference: is a drawing nearer to "a good photo" than to "a bad photo"?

After CLIP-IQA (Wang, Chan, Loy, 2023, arXiv 2207.12396, equation 3). There CLIP's ResNet-50 without
positional embeddings takes pictures of any size; here the scores' CLIP takes them as it is, after
its own resize.
"""

import torch
from torch import Tensor

from idgen.metrics.similarity import MeanScore, require_embeddings, require_same_width, unit


def antonym_preference(drawings: Tensor, good: Tensor, bad: Tensor, scale: float) -> Tensor:
    r"""How much more a drawing is like the one text than like the other.

    .. math:: q_b = \frac{e^{s \cos(d_b, t_+)}}{e^{s \cos(d_b, t_+)} + e^{s \cos(d_b, t_-)}}

    Args:
        drawings: CLIP embeddings of drawings, ``B E``, of any length and type. B may be 0.
        good: The same of the text that praises, ``1 E``.
        bad: The same of its opposite, ``1 E``.
        scale: s; 100 is what CLIP's own temperature came to, and CLIP-IQA's.

    Returns:
        ``B`` float64 in [0, 1].

    Raises:
        ValueError: If the shapes do not fit.
    """
    require_embeddings("drawings", drawings)
    for name, text in (("good", good), ("bad", bad)):
        require_embeddings(name, text)
        require_same_width(name, text, drawings)
        if len(text) != 1:
            raise ValueError(f"{name}: one embedding is needed, got {len(text)}")
    difference = unit(drawings) @ (unit(good) - unit(bad))[0]
    return torch.sigmoid(scale * difference)


class AntonymPreference(MeanScore):
    """Mean over drawings of `antonym_preference`.

    Range [0, 1], higher is better; compare it for the same prompts only, for what is drawn moves
    it too.
    """

    plot_lower_bound = 0.0

    each = staticmethod(antonym_preference)
