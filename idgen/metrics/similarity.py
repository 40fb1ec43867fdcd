"""DINO, CLIP-I and CLIP-T: raw cosines between embeddings, averaged over drawings.

The three scores of DreamBooth (Ruiz et al., 2023, arXiv 2208.12242, section 4.2). DINO and CLIP-I
are the same formula on embeddings of two encoders; CLIP-T compares a drawing with its prompt.
Neither the factor 2.5 nor the clipping at 0 of CLIPScore is applied.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.functional import normalize
from torchmetrics import Metric


def mean_reference_similarity(drawings: Tensor, references: Tensor) -> Tensor:
    r"""Each drawing's mean cosine to every reference photo: DINO or CLIP-I, by the encoder.

    .. math:: s_b = \frac{1}{R} \sum_r \frac{d_b \cdot p_r}{\lVert d_b \rVert \lVert p_r \rVert}

    Args:
        drawings: Embeddings of drawings, ``B E``, of any length and floating type. B may be 0.
        references: Embeddings of the subject's photos, ``R E``, R at least 1.

    Returns:
        ``B`` cosines in [-1, 1] as float64. A zero vector has cosine 0 to everything.

    Raises:
        ValueError: If the shapes do not fit, or there is no reference.
    """
    require_references(drawings, references)
    return (unit(drawings) @ unit(references).T).mean(dim=1)


def text_alignment(drawings: Tensor, prompts: Tensor) -> Tensor:
    r"""Each drawing's cosine to its own prompt: CLIP-T.

    .. math:: s_b = \frac{d_b \cdot t_b}{\lVert d_b \rVert \lVert t_b \rVert}

    Args:
        drawings: Image embeddings of drawings, ``B E``, of any length and type. B may be 0.
        prompts: Text embeddings ``B E``, of each drawing's prompt without the subject's token.

    Returns:
        ``B`` cosines in [-1, 1] as float64. A zero vector has cosine 0 to everything.

    Raises:
        ValueError: If the shapes differ.
    """
    require_embeddings("drawings", drawings)
    require_embeddings("prompts", prompts)
    require_same_width("prompts", prompts, drawings)
    if prompts.shape[0] != drawings.shape[0]:
        raise ValueError(
            f"prompts: one a drawing is needed, got {prompts.shape[0]} for {drawings.shape[0]}"
        )
    return (unit(drawings) * unit(prompts)).sum(dim=1)


class SumMetric(Metric):
    """A metric whose states are sums over drawings, and so over processes."""

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    def add_sum(
        self, name: str, shape: tuple[int, ...] = (), dtype: torch.dtype = torch.float64
    ) -> None:
        """Adds a state that starts at 0."""
        self.add_state(name, torch.zeros(shape, dtype=dtype), dist_reduce_fx="sum")

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Module:
        """Moves states to other devices, but never to other types.

        Metric guards them against ``module.bfloat16()``, but not against
        ``module.to(torch.bfloat16)``.
        """

        def moved(tensor: Tensor) -> Tensor:
            applied = fn(tensor)
            return applied if applied.dtype == tensor.dtype else tensor.to(applied.device)

        return super()._apply(moved, exclude_state)


def _as_they_are(scores: Tensor) -> Tensor:
    if scores.ndim != 1:
        raise ValueError(f"scores: one dimension is needed, got shape {tuple(scores.shape)}")
    return scores


class MeanScore(SumMetric):
    """Mean of scores over all drawings of all processes.

    A subclass names the pure function whose values it averages; by itself it takes the values.
    The states are a float64 sum and an int64 count, both summed over processes, so the mean does
    not depend on how the drawings were shared out, batched or ordered, beyond float64 rounding.
    A process without a drawing adds zero to both.

    Attributes:
        each: What is compared to a score of each drawing, `B` real numbers.
        latest: What `each` gave in the last `update`.
    """

    plot_lower_bound = -1.0
    plot_upper_bound = 1.0

    each: ClassVar[Callable[..., Tensor]] = staticmethod(_as_they_are)

    latest: Tensor
    total: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        """Starts at no drawing; takes settings of `torchmetrics.Metric`, as ``sync_on_compute``."""
        super().__init__(**kwargs)
        self.latest = torch.empty(0, dtype=torch.float64)
        self.add_sum("total")
        self.add_sum("count", dtype=torch.int64)

    def update(self, *compared: Any) -> None:
        """Adds some drawings, perhaps none; takes and raises what `each` does."""
        self.latest = self.each(*compared)
        # Out of place: a state made under inference mode could not be changed outside of it.
        self.total = self.total + self.latest.to(self.total).sum()
        self.count = self.count + self.latest.numel()

    def compute(self) -> Tensor:
        """The mean over all drawings, NaN if no process had one; to be called on every process."""
        return self.total / self.count

    def mean(self) -> float | None:
        """As `compute`, but None, and not NaN, if no process had a drawing."""
        with self.sync_context(should_sync=self.sync_on_compute):
            return float(self.total / self.count) if self.count else None


class ImageSimilarity(MeanScore):
    """Mean over drawings of `mean_reference_similarity`: DINO or CLIP-I, by the encoder.

    Range [-1, 1], higher is more like the photos. High with a low CLIP-T means a copy of a photo
    as readily as a faithful subject.
    """

    each = staticmethod(mean_reference_similarity)


class TextAlignment(MeanScore):
    """Mean over drawings of `text_alignment`: CLIP-T.

    Range [-1, 1]; with CLIP ViT-B/32 real captions of real photos lie around 0.3.
    """

    each = staticmethod(text_alignment)


def unit(embeddings: Tensor) -> Tensor:
    """Embeddings at unit length, ``... E`` float64; a zero one stays zero."""
    # float64 is out of the reach of autocast and TF32, which would cost three digits.
    return normalize(embeddings.to(torch.float64), dim=-1)


def require_embeddings(name: str, embeddings: Tensor) -> None:
    """Raises a ValueError unless these are ``B E``, of a floating type."""
    if embeddings.ndim != 2 or not embeddings.is_floating_point():
        raise ValueError(
            f"{name}: floating-point embeddings of shape B E are needed, "
            f"got {embeddings.dtype} {tuple(embeddings.shape)}"
        )


def require_same_width(name: str, embeddings: Tensor, drawings: Tensor) -> None:
    """Raises a ValueError unless these embeddings are as wide as the drawings'."""
    if embeddings.shape[1] != drawings.shape[1]:
        raise ValueError(
            f"{name}: width {embeddings.shape[1]} differs from the drawings' {drawings.shape[1]}: "
            "were they embedded by one encoder?"
        )


def require_references(drawings: Tensor, references: Tensor) -> None:
    """Raises a ValueError unless these are embeddings of one encoder, and of some photo."""
    require_embeddings("drawings", drawings)
    require_embeddings("references", references)
    if references.shape[0] == 0:
        raise ValueError("references: at least one embedding is needed")
    require_same_width("references", references, drawings)
