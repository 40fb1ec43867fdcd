"""FFM: a mixture of experts that refines the fused feature (arXiv 2505.22360)."""

import math
from enum import Enum
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from idgen.backbones.text import TextStates


class Routing(Enum):
    """What has gates of its own."""

    token = "token"
    picture = "picture"


class Fused(NamedTuple):
    """What the fusion module returns.

    Attributes:
        refined: f_r, `B N D`.
        gates: The router's weights, `B N K`, each token's summing to 1.
        residuals: What each expert adds to its input, `B N D`, K of them.
    """

    refined: Tensor
    gates: Tensor
    residuals: tuple[Tensor, ...]


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
        """What is added to a feature, `... D` to `... D`."""
        residual: Tensor = self.outer(torch.relu(self.inner(feature)))
        return residual


class LowRankExpert(nn.Module):
    """Expert(f) = f + B A f of rank r, with B = 0 at the start (LoRA, Hu et al. 2022)."""

    def __init__(self, width: int, rank: int) -> None:
        """Builds the two factors.

        Args:
            width: D.
            rank: r.
        """
        super().__init__()
        self.down = nn.Linear(width, rank, bias=False)
        self.up = nn.Linear(rank, width, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, feature: Tensor) -> Tensor:
        """What is added to a feature, `... D` to `... D`."""
        residual: Tensor = self.up(self.down(feature))
        return residual


class ExpertFusion(nn.Module):
    """f_r = sum_k R(f_com)_k * Expert_k(f_com), R a softmax router.

    It routes each token, or each picture by the mean of its real tokens: gates of its own for
    each token may break a condition into pieces (InstructMoLE, arXiv 2512.21788).
    """

    def __init__(
        self,
        width: int,
        experts: int = 4,
        hidden_ratio: float = 0.25,
        routing: Routing = Routing.token,
        low_rank: int | None = None,
    ) -> None:
        """Builds router and experts.

        Args:
            width: D.
            experts: K.
            hidden_ratio: Hidden width of an expert as a share of D.
            routing: Whether each token has gates of its own, or all of a picture have the same.
            low_rank: Rank of experts that are linear; None for MLPs of `hidden_ratio`.

        Raises:
            ValueError: If there is no expert, or an expert has no hidden unit or no rank.
        """
        super().__init__()
        if experts < 1 or not 1 <= hidden_ratio * width < math.inf:
            raise ValueError("experts must be 1 or more and hidden_ratio * width at least 1")
        if low_rank is not None and not 1 <= low_rank <= width:
            raise ValueError(f"low_rank must be from 1 to {width}, or null for MLPs")
        self.routing = routing
        self.router = nn.Linear(width, experts)
        self.experts = nn.ModuleList(
            Expert(width, int(hidden_ratio * width))
            if low_rank is None
            else LowRankExpert(width, low_rank)
            for _ in range(experts)
        )

    def forward(self, combined: TextStates) -> Fused:
        """Routes to all experts, softly.

        Args:
            combined: f_com, `B N D`.

        Returns:
            f_r, the gates and the experts' residuals; at the start f_r equals f_com.
        """
        states = combined.states
        if self.routing is Routing.token:
            gates = self.router(states).softmax(dim=-1)
        else:
            of_pictures = self.router(combined.mean()).softmax(dim=-1)
            gates = of_pictures.unsqueeze(1).expand(-1, states.shape[1], -1)
        residuals, outputs = [], []
        for expert in self.experts:
            residuals.append(expert(states))
            outputs.append(states + residuals[-1])
        refined = torch.stack(outputs, dim=-1)
        return Fused((refined * gates.unsqueeze(-2)).sum(dim=-1), gates, tuple(residuals))


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
    return cast(Tensor, entropy / max(math.log(gates.shape[-1]), 1e-8))
