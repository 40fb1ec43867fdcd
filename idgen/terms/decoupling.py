"""L2 to L4: cosines between the text's feature and the identity-irrelevant ones."""

from collections.abc import Mapping

from torch import Tensor

from idgen.losses import implicit_explicit_loss, implicit_text_loss, text_explicit_loss
from idgen.models.conditioning import Conditioning
from idgen.models.tuning import Tuning
from idgen.terms.step import Asked, Step
from idgen.terms.term import Term

_NO_IMPLICIT = "the method has no implicit branch"
_NO_EXPLICIT = "the method has no explicit branch"


class ImplicitText(Term):
    """L2 = mean cos(f_i, f_s): what is irrelevant to the identity is pushed off the text."""

    def idle(self, conditioning: Conditioning, tuning: Tuning) -> str:
        """Without f_i."""
        return "" if conditioning.implicit else _NO_IMPLICIT

    def loss(self, step: Step, predictions: Mapping[Asked, Tensor]) -> Tensor:
        """In [-1, 1]."""
        assert step.condition.implicit is not None, _NO_IMPLICIT
        return implicit_text_loss(step.condition.implicit, step.text_mean)


class ImplicitExplicit(Term):
    """L3 = -mean cos(f_i, f'_i): the implicit feature is pulled to the subject-free photo's."""

    def idle(self, conditioning: Conditioning, tuning: Tuning) -> str:
        """Without f_i or f'_i."""
        if not conditioning.implicit:
            return _NO_IMPLICIT
        return "" if conditioning.explicit else _NO_EXPLICIT

    def loss(self, step: Step, predictions: Mapping[Asked, Tensor]) -> Tensor:
        """In [-1, 1]."""
        implicit, explicit = step.condition.implicit, step.condition.explicit
        assert implicit is not None, _NO_IMPLICIT
        assert explicit is not None, _NO_EXPLICIT
        return implicit_explicit_loss(implicit, explicit)


class TextExplicit(Term):
    """L4 = mean cos(f_s, f'_i): the identity's text feature is pushed off the background."""

    def idle(self, conditioning: Conditioning, tuning: Tuning) -> str:
        """Without f'_i, or without a gradient for f_s."""
        if not conditioning.explicit:
            return _NO_EXPLICIT
        if not tuning.trains_text:
            return (
                "nothing on the text side is trained, so that L4 has no gradient; train the text "
                "encoder (LoraTuning.text_rank)"
            )
        return ""

    def loss(self, step: Step, predictions: Mapping[Asked, Tensor]) -> Tensor:
        """In [-1, 1]."""
        assert step.condition.explicit is not None, _NO_EXPLICIT
        return text_explicit_loss(step.text_mean, step.condition.explicit)
