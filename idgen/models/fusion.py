"""FFM: a mixture of experts that refines the fused feature (arXiv 2505.22360)."""

import math
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn


class Fused(NamedTuple):
    """What the fusion module returns.

    Attributes:
        refined: f_r, `B N D`.
        gates: The router's weights, `B N K`, each token's summing to 1.
    """

    refined: Tensor
    gates: Tensor


class Expert(nn.Module):
    """Expert(f) = f + W2 relu(W1 f), with W2 = 0 at the start: the identity."""

    def __init__(self, width: int, hidden: int) -> None:
        """Builds the residual MLP.

        Args:
            width: D.
            hidden: Width of its hidden layer.
        """
        super().__init__()
        self.inner = nn.Linear(width, hidden)
        self.outer = nn.Linear(hidden, width)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, feature: Tensor) -> Tensor:
        """`... D` to `... D`."""
        refined: Tensor = feature + self.outer(torch.relu(self.inner(feature)))
        return refined


class ExpertFusion(nn.Module):
    """f_r = sum_k R(f_com)_k * Expert_k(f_com), R a softmax router for each token."""

    def __init__(self, width: int, experts: int = 4, hidden_ratio: float = 0.25) -> None:
        """Builds router and experts.

        Args:
            width: D.
            experts: K.
            hidden_ratio: Hidden width of an expert as a share of D.

        Raises:
            ValueError: If there is no expert or an expert has no hidden unit.
        """
        super().__init__()
        if experts < 1 or not 1 <= hidden_ratio * width < math.inf:
            raise ValueError("experts must be 1 or more and hidden_ratio * width at least 1")
        self.router = nn.Linear(width, experts)
        self.experts = nn.ModuleList(
            Expert(width, int(hidden_ratio * width)) for _ in range(experts)
        )

    def forward(self, combined: Tensor) -> Fused:
        """Routes each token to all experts, softly.

        Args:
            combined: f_com, `B N D`.

        Returns:
            f_r and the gates; at the start f_r equals f_com.
        """
        gates = self.router(combined).softmax(dim=-1)
        refined = torch.stack([expert(combined) for expert in self.experts], dim=-1)
        return Fused((refined * gates.unsqueeze(-2)).sum(dim=-1), gates)


def expert_load(gates: Tensor) -> Tensor:
    """Each expert's mean share of the tokens, `K`, summing to 1.

    Args:
        gates: `B N K`.
    """
    return gates.flatten(end_dim=-2).mean(dim=0)


def router_entropy(gates: Tensor) -> Tensor:
    """Mean entropy of a token's gates as a share of log K: 1 undecided, 0 one expert alone.

    Args:
        gates: `B N K`.

    Returns:
        A scalar in [0, 1]; 0 where there is one expert.
    """
    entropy = torch.special.entr(gates).sum(dim=-1).mean()
    largest = torch.log(torch.tensor(float(gates.shape[-1]), device=gates.device))
    return cast(Tensor, entropy / largest.clamp(min=1e-8))
