"""What keeps the experts of the fusion module in use, and apart."""

from collections.abc import Mapping

from torch import Tensor

from idgen.losses import expert_overlap_loss, load_balance_loss
from idgen.models.conditioning import Conditioning
from idgen.models.tuning import Tuning
from idgen.terms.step import Asked, Step
from idgen.terms.term import Term

_TOO_FEW = "the method has no two experts"


class LoadBalance(Term):
    """K sum_k load_k^2: no expert is left without work (Fedus et al. 2022, arXiv 2101.03961)."""

    def idle(self, conditioning: Conditioning, tuning: Tuning) -> str:
        """Without two experts."""
        return "" if conditioning.experts > 1 else _TOO_FEW

    def loss(self, step: Step, predictions: Mapping[Asked, Tensor]) -> Tensor:
        """In [1, K]."""
        assert step.condition.gates is not None, _TOO_FEW
        return load_balance_loss(step.condition.gates)


class OrthogonalExperts(Term):
    """The mean squared cosine between experts' outputs (after InstructMoLE, arXiv 2512.21788)."""

    def idle(self, conditioning: Conditioning, tuning: Tuning) -> str:
        """Without two experts."""
        return "" if conditioning.experts > 1 else _TOO_FEW

    def loss(self, step: Step, predictions: Mapping[Asked, Tensor]) -> Tensor:
        """In [0, 1]."""
        assert step.condition.residuals is not None, _TOO_FEW
        return expert_overlap_loss(step.condition.residuals)
