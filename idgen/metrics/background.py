"""Background accuracy: did the scene that was asked for appear, and not the photo's?

Only where the scenes are a closed set, as in the mini world: zero-shot classification (Radford et
al., 2021, arXiv 2103.00020, section 3.1) by the scoring CLIP.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from idgen.metrics.similarity import MeanScore, require_embeddings, require_same_width, unit


def scene_prototypes(texts: Tensor, scenes: Sequence[int]) -> Tensor:
    """One embedding a scene: the direction of the mean of its texts' embeddings.

    Args:
        texts: CLIP embeddings of texts, ``T E``.
        scenes: Which scene each text names, T numbers in [0, S) of which none is left out.

    Returns:
        ``S E`` float64, of unit length.

    Raises:
        ValueError: If the numbers do not fit.
    """
    require_embeddings("texts", texts)
    count = len(set(scenes))
    if len(scenes) != len(texts) or set(scenes) != set(range(count)):
        raise ValueError(f"scenes: one a text is needed, none left out, got {list(scenes)}")
    numbers = torch.tensor(scenes, device=texts.device)
    sums = texts.new_zeros(count, texts.shape[1], dtype=torch.float64)
    return normalize(sums.index_add(0, numbers, unit(texts)), dim=1)


def background_hits(drawings: Tensor, scenes: Tensor, asked: Tensor) -> Tensor:
    r"""Whether the scene nearest to each drawing is the one that was asked for.

    .. math:: h_b = [\arg\max_s \cos(d_b, t_s) = a_b]

    Args:
        drawings: CLIP embeddings of drawings, ``B E``. B may be 0.
        scenes: Embeddings of all scenes, ``S E``, such as `scene_prototypes`.
        asked: The scene that was asked for, ``B`` int64 in [0, S). Where the photos show it too,
            the answer says nothing about them: leave such drawings out.

    Returns:
        ``B`` float64: 1 or 0; NaN for an embedding with NaN.

    Raises:
        ValueError: If the shapes do not fit.
    """
    require_embeddings("drawings", drawings)
    require_embeddings("scenes", scenes)
    require_same_width("scenes", scenes, drawings)
    if asked.shape != drawings.shape[:1]:
        raise ValueError(f"asked: one a drawing is needed, got {tuple(asked.shape)}")
    nearest = (unit(drawings) @ unit(scenes).T).argmax(dim=1)
    hits = (nearest == asked.to(nearest.device)).double()
    return torch.where(drawings.isnan().any(dim=1), torch.nan, hits)


class BackgroundAccuracy(MeanScore):
    """Mean over drawings of `background_hits`.

    Range [0, 1], higher is better; 1 / S is chance. A model that returns its photos has 0.
    """

    plot_lower_bound = 0.0

    each = staticmethod(background_hits)
