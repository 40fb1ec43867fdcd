"""Kernel distance: do drawings look like pictures of the world that they are to be of?

The squared maximum mean discrepancy of Gretton et al. (2012, Journal of Machine Learning Research
13, equation 3) with the cubic kernel of KID (Binkowski et al., 2018, arXiv 1801.01401, section
4). Ours departs from KID so:

- features are the scores' DINO and CLIP embeddings at unit length, so that the kernel is
  ``(cos + 1) ** 3``, where KID takes Inception's pooled activations;
- a suite's prompts are the same for drawings and references, and not drawn at random. Two drawings
  of one prompt are rarer among a suite's pairs than two pictures of one prompt among the
  references, so that all pairs together would put right drawings below zero. Pairs of one prompt
  are left out on all sides, and every two prompts weigh the same;
- all drawings enter at once, where KID averages over subsets.
"""

from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from idgen.metrics.similarity import SumMetric, require_embeddings, require_same_width, unit


def kernel_distance(
    drawings: Tensor, prompts: Tensor, references: Tensor, reference_prompts: Tensor
) -> Tensor:
    r"""Squared maximum mean discrepancy of drawings and references, over pairs of two prompts.

    .. math:: \frac{1}{P (P - 1)} \sum_{p \neq q}
        (\bar k(X_p, X_q) + \bar k(Y_p, Y_q) - 2 \bar k(X_p, Y_q)), \quad
        k(x, y) = (\cos(x, y) + 1)^3

    with :math:`\bar k` the mean over the drawings X, or references Y, of two of the P prompts that
    have both. Its expectation is :math:`\frac{1}{P (P - 1)} \sum_{p \neq q} \langle \delta_p,
    \delta_q \rangle`, of the differences :math:`\delta_p` between the kernel means of a prompt's
    drawings and references: what drawings of all prompts have in common that references lack.

    Args:
        drawings: Embeddings of drawings, ``B E``, of any length and floating type.
        prompts: Which prompt each was drawn for, ``B`` int64, 0 or more.
        references: The same of pictures as they should be, ``R E``.
        reference_prompts: Which prompt each is of, ``R`` int64.

    Returns:
        A float64 scalar: 0 on average for drawings like the references; NaN if fewer than two
        prompts have both. Where the differences of prompts cancel it is negative, by as much as
        their mean square over P - 1: with two prompts that says little, with 25 it is small.

    Raises:
        ValueError: If the shapes do not fit.
    """
    for name, embeddings, of in (
        ("drawings", drawings, prompts),
        ("references", references, reference_prompts),
    ):
        require_embeddings(name, embeddings)
        if of.shape != embeddings.shape[:1]:
            raise ValueError(f"{name}: a prompt each is needed, got {tuple(of.shape)}")
    require_same_width("references", references, drawings)
    shared = _shared(prompts, reference_prompts)
    if len(shared) < 2:
        return torch.tensor(torch.nan, dtype=torch.float64, device=drawings.device)
    x, y = unit(drawings), unit(references)
    of_x, of_y = _means_by_prompt(prompts, shared), _means_by_prompt(reference_prompts, shared)
    between = (
        of_x @ _cubic(x, x) @ of_x.T
        + of_y @ _cubic(y, y) @ of_y.T
        - 2 * of_x @ _cubic(x, y) @ of_y.T
    )
    return (between.sum() - between.trace()) / (len(shared) * (len(shared) - 1))


def _shared(prompts: Tensor, others: Tensor) -> Tensor:
    """The prompts that occur in both, each once."""
    both = sorted(set(prompts.tolist()) & set(others.tolist()))
    return torch.tensor(both, dtype=torch.int64, device=prompts.device)


def _cubic(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T + 1) ** 3


def _means_by_prompt(prompts: Tensor, shared: Tensor) -> Tensor:
    """Weights ``P B`` that average what is of each of the shared prompts."""
    member = (prompts[None] == shared[:, None]).double()
    return member / member.sum(dim=1, keepdim=True)


class KernelDistance(SumMetric):
    """`kernel_distance` of all drawings of all processes.

    Lower is better; 0 is a model whose drawings are the world's own pictures, but for chance. It
    says nothing of single drawings: a set is compared with a set.

    The states are the embeddings themselves, gathered from all processes. Several processes may
    give the same references of a prompt: that leaves their mean, and so the distance, as it is.
    """

    higher_is_better = False
    plot_lower_bound = 0.0

    drawings: list[Tensor]
    prompts: list[Tensor]
    references: list[Tensor]
    reference_prompts: list[Tensor]

    def __init__(self, width: int, **kwargs: Any) -> None:
        """Starts at no drawing.

        Args:
            width: E, of the embeddings.
            **kwargs: Settings of `torchmetrics.Metric`, such as ``sync_on_compute``.
        """
        super().__init__(**kwargs)
        self._width = width
        for name in ("drawings", "prompts", "references", "reference_prompts"):
            self.add_state(name, [], dist_reduce_fx="cat")
        self._start_empty()

    def reset(self) -> None:
        """Starts at no drawing again."""
        super().reset()
        self._start_empty()

    def _start_empty(self) -> None:
        # A process without a drawing gathers too, so that it needs tensors of the right type.
        none = torch.empty(0, self._width, dtype=torch.float64, device=self.device)
        nowhere = torch.empty(0, dtype=torch.int64, device=self.device)
        self.drawings, self.references = [none], [none]
        self.prompts, self.reference_prompts = [nowhere], [nowhere]

    def update(
        self, drawings: Tensor, prompts: Tensor, references: Tensor, reference_prompts: Tensor
    ) -> None:
        """Adds drawings, and references of prompts that this process gave none of yet.

        Args:
            drawings: ``B E``; B may be 0.
            prompts: ``B`` int64.
            references: ``R E``; R may be 0.
            reference_prompts: ``R`` int64.
        """
        for name, added in (("drawings", drawings), ("references", references)):
            require_embeddings(name, added)
            if added.shape[1] != self._width:
                raise ValueError(f"{name}: width {self._width} is needed, got {added.shape[1]}")
        self.drawings.append(unit(drawings).to(self.device))
        self.prompts.append(prompts.to(self.device))
        self.references.append(unit(references).to(self.device))
        self.reference_prompts.append(reference_prompts.to(self.device))

    def compute(self) -> Tensor:
        """The distance, NaN where there is none; to be called on every process."""
        drawings, prompts, references, of = self._gathered()
        return kernel_distance(drawings, prompts, references, of)

    def distance(self) -> float | None:
        """As `compute`, but None, and not NaN, where fewer than two prompts have both."""
        with self.sync_context(should_sync=self.sync_on_compute):
            drawings, prompts, references, of = self._gathered()
            if len(_shared(prompts, of)) < 2:
                return None
            return float(kernel_distance(drawings, prompts, references, of))

    def _gathered(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return (
            dim_zero_cat(self.drawings),
            dim_zero_cat(self.prompts),
            dim_zero_cat(self.references),
            dim_zero_cat(self.reference_prompts),
        )
