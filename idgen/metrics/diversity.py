"""Diversity: how far apart the drawings of one prompt are."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from idgen.metrics.similarity import keep_dtype, require_embeddings, unit


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
    """The same from sums: the cosines of all pairs are in the sum's squared length.

    Args:
        sums: Sum of unit embeddings, ``... E``.
        squares: Sum of their squared lengths, ``...``; their number unless some are zero.
        counts: Their number, ``...``.

    Returns:
        ``...``; NaN where there are fewer than two.
    """
    cosines = sums.square().sum(dim=-1) - squares
    # Rounding can leave equal drawings a hair apart from distance 0.
    distances = (1 - cosines / (counts * (counts - 1))).clamp(min=0)
    return torch.where(counts > 1, distances, torch.nan)


class Diversity(Metric):
    """Mean over prompts of `prompt_diversity`.

    Range [0, 2], higher is more varied; 0 is a model that draws one picture whatever the noise.
    Varied drawings of the wrong thing are diverse too, so it is read beside DINO and CLIP-T.

    The states are sums for each prompt, so a prompt's drawings may lie on different processes:
    nothing has to be gathered.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
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
        sums = torch.zeros(prompts, width, dtype=torch.float64)
        self.add_state("sums", sums, dist_reduce_fx="sum")
        self.add_state("squares", sums[:, 0].clone(), dist_reduce_fx="sum")
        counts = torch.zeros(prompts, dtype=torch.int64)
        self.add_state("counts", counts, dist_reduce_fx="sum")

    def update(self, drawings: Tensor, prompts: Tensor) -> None:
        """Adds some drawings.

        Args:
            drawings: DINO embeddings, ``B E``. B may be 0.
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
        # Out of place: a state made under inference mode could not be changed outside of it.
        self.sums = self.sums.index_add(0, at, added)
        self.squares = self.squares.index_add(0, at, added.square().sum(dim=1))
        self.counts = self.counts.index_add(0, at, torch.ones_like(at))

    def compute(self) -> Tensor:
        """The mean over the prompts that have two drawings or more.

        Under DDP it has to be called on every process.

        Returns:
            A float64 scalar; NaN if no prompt has two.
        """
        return self._by_prompt()[self.counts > 1].mean()

    def by_prompt(self) -> Tensor:
        """Each prompt's diversity over all processes; it has to be called on every one of them.

        Returns:
            ``P`` float64; NaN where there are fewer than two drawings.
        """
        with self.sync_context(should_sync=self.sync_on_compute):
            return self._by_prompt()

    def several(self) -> Tensor:
        """Which prompts have two drawings or more over all processes; called on all of them.

        Returns:
            ``P`` bool.
        """
        with self.sync_context(should_sync=self.sync_on_compute):
            return self.counts > 1

    def _by_prompt(self) -> Tensor:
        return _distance(self.sums, self.squares, self.counts)

    _apply = keep_dtype
