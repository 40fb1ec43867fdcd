"""Cross-attention of [V] is kept to the subject's mask."""

from collections.abc import Mapping

from torch import Tensor

from idgen.backbones.backbone import Backbone
from idgen.errors import UserError
from idgen.losses import attention_loss
from idgen.terms.step import TEXT, Asked, Step
from idgen.terms.term import Term


class AttentionInMask(Term):
    """Places of the picture look for [V] where the subject is (Break-A-Scene, arXiv 2305.16311).

    The map is of f_s alone, under which drawings are made.
    """

    reads_masks = True

    def __init__(self, weight: float = 1e-2, reduction: int = 4) -> None:
        """Sets the weight and the layers.

        Args:
            weight: Break-A-Scene's by default.
            reduction: Which layers of cross-attention: those whose maps are so many times smaller
                than the latents on each side; 4 is 16 x 16 in Stable Diffusion at 512 pixels, as in
                Break-A-Scene.

        Raises:
            ValueError: If a number is out of range.
        """
        super().__init__(weight)
        if reduction < 1:
            raise ValueError("AttentionInMask: reduction must be 1 or more")
        self.reduction = reduction
        looking = Asked("where f_s looks for [V]", TEXT.inputs, attention=reduction)
        self.asks = (looking,)

    def check_backbone(self, backbone: Backbone) -> None:
        """Refuses backbones that give no maps of that size.

        Raises:
            UserError: If it gives none.
        """
        given, family = backbone.attention_reductions, type(backbone).__name__
        if not given:
            raise UserError(
                f"terms: AttentionInMask needs maps of cross-attention, which {family} does not "
                "give: leave the term out"
            )
        if self.reduction not in given:
            raise UserError(
                f"AttentionInMask.reduction: {family} {backbone.source!r} has no layers of "
                f"cross-attention at {self.reduction}; set it to {_listed(given)}"
            )

    def loss(self, step: Step, predictions: Mapping[Asked, Tensor]) -> Tensor:
        """In [0, 1]."""
        return attention_loss(predictions[self.asks[0]], step.batch.subject_mask)


def _listed(numbers: tuple[int, ...]) -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} or {last}" if first else last
