"""Diversity: how far apart the drawings of one prompt are."""

from typing import Any

import torch
from torch import Tensor

from idgen.metrics.similarity import SumMetric, require_embeddings, unit


def prompt_diversity(drawings: Tensor) -> Tensor:
    r"""Mean pairwise cosine distance among the drawings of one prompt.

    .. math:: \frac{2}{n (n - 1)} \sum_{i < j} (1 - \cos(d_i, d_j))

    Args:
        drawings: DINO embeddings of a prompt's drawings, ``n E``, of any length and type.

    Returns:
        A float64 scalar in [0, 2]; NaN for fewer than two drawings, which have no distance.

    Raises:
        ValueError: If the embeddings are not of that shape.
    """
    require_embeddings("drawings", drawings)
    of_unit_length = unit(drawings)
    squares = of_unit_length.square().sum()
    return _distance(of_unit_length.sum(dim=0), squares, torch.tensor(len(drawings)))


def _distance(sums: Tensor, squares: Tensor, counts: Tensor) -> Tensor:
    """The same from sums, ``... E`` of unit embeddings and ``...`` of their squared lengths."""
    # All pairs' cosines are in the sum's squared length, beside the squares: 1 each, 0 of a zero.
    cosines = sums.square().sum(dim=-1) - squares
    # Rounding can leave equal drawings a hair apart from distance 0.
    distances = (1 - cosines / (counts * (counts - 1))).clamp(min=0)
    return torch.where(counts > 1, distances, torch.nan)


class Diversity(SumMetric):
    """Mean over prompts of `prompt_diversity`.

    Range [0, 2], higher is more varied; 0 is a model that draws one picture whatever the noise.
    Varied drawings of the wrong thing are diverse too, so it is read beside DINO and CLIP-T.

    The states are sums for each prompt, so a prompt's drawings may lie on different processes:
    nothing has to be gathered.
    """

    plot_lower_bound = 0.0
    plot_upper_bound = 2.0

    sums: Tensor
    squares: Tensor
    counts: Tensor

    def __init__(self, prompts: int, width: int, **kwargs: Any) -> None:
        """Starts at no drawing.

        Args:
            prompts: P, how many there are.
            width: E, of the embeddings.
            **kwargs: Settings of `torchmetrics.Metric`, such as ``sync_on_compute``.
        """
        super().__init__(**kwargs)
        self.add_sum("sums", (prompts, width))
        self.add_sum("squares", (prompts,))
        self.add_sum("counts", (prompts,), torch.int64)

    def update(self, drawings: Tensor, prompts: Tensor) -> None:
        """Adds drawings' DINO embeddings.

        Args:
            drawings: ``B E``; B may be 0.
            prompts: Which prompt each was drawn for, ``B`` int64 in [0, P).

        Raises:
            ValueError: If the shapes do not fit.
        """
        require_embeddings("drawings", drawings)
        if drawings.shape[1] != self.sums.shape[1] or prompts.shape != drawings.shape[:1]:
            raise ValueError(
                f"drawings and prompts: B {self.sums.shape[1]} and B are needed, got "
                f"{tuple(drawings.shape)} and {tuple(prompts.shape)}"
            )
        added = unit(drawings).to(self.sums.device)
        at = prompts.to(self.sums.device)
        # Out of place, as in `MeanScore`.
        self.sums = self.sums.index_add(0, at, added)
        self.squares = self.squares.index_add(0, at, added.square().sum(dim=1))
        self.counts = self.counts.index_add(0, at, torch.ones_like(at))

    def compute(self) -> Tensor:
        """The mean over prompts with two drawings or more, else NaN; call it on every process."""
        return self._by_prompt()[self.counts > 1].mean()

    def by_prompt(self) -> Tensor:
        """Each prompt's, ``P`` float64, NaN for fewer than two drawings; call on every process."""
        with self.sync_context(should_sync=self.sync_on_compute):
            return self._by_prompt()

    def several(self) -> Tensor:
        """Which prompts have two drawings or more, ``P`` bool; call it on every process."""
        with self.sync_context(should_sync=self.sync_on_compute):
            return self.counts > 1

    def _by_prompt(self) -> Tensor:
        return _distance(self.sums, self.squares, self.counts)
