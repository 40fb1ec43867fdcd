"""Residual tokens are kept from what a set's photos have in common."""

from collections.abc import Mapping

import torch
from torch import Tensor

from idgen.backbones.text import TextStates
from idgen.errors import UserError
from idgen.losses import denoising_loss
from idgen.models.conditioning import Conditioning
from idgen.models.residual_tokens import ResidualTokens
from idgen.models.tuning import Tuning
from idgen.terms.step import Asked, Inputs, Step
from idgen.terms.term import Term


def _empty(step: Step) -> TextStates:
    return step.backbone.encode([""]).rows([0] * len(step.noised.noisy))


def _of_other_photos(step: Step) -> Inputs:
    """Each row's latents, under the residual tokens of another photo and no words."""
    photos, conditioning = step.batch.photos, step.conditioning
    assert photos is not None, "the data module tells photos apart"
    assert isinstance(conditioning, ResidualTokens), "idle() leaves the term out elsewhere"
    further = torch.randint(1, photos.total, photos.numbers.shape, device=photos.numbers.device)
    others = (photos.numbers + further) % photos.total
    return step.noised, conditioning.joined(_empty(step), others)


OTHERS = Asked("another photo's residual tokens", _of_other_photos)
EMPTY = Asked(
    "the frozen backbone's empty prompt", lambda step: (step.noised, _empty(step)), frozen=True
)


class Exclusion(Term):
    """A photo's residual tokens say nothing of another photo (ConceptPrism, arXiv 2602.19575).

    Given the noised latents of photo j, the residual tokens of photo i, with no words beside them,
    are to change nothing: the denoiser predicts as the frozen one does under the empty prompt.
    What both photos show, the subject, is thereby left to [V].
    """

    asks = (OTHERS, EMPTY)
    least_photos = 2

    def __init__(self, weight: float = 0.05) -> None:
        """Sets the weight.

        Args:
            weight: beta of the paper, by default its value for Stable Diffusion 2.1.

        Raises:
            ValueError: If it is negative, infinite or NaN.
        """
        super().__init__(weight)

    def idle(self, conditioning: Conditioning, tuning: Tuning) -> str:
        """Without residual tokens."""
        has_them = isinstance(conditioning, ResidualTokens)
        return "" if has_them else "the method has no residual tokens (ResidualTokens)"

    def check(self, tuning: Tuning) -> None:
        """Refuses tunings after which the frozen backbone is there no more.

        Raises:
            UserError: If the tuning is one.
        """
        if not tuning.can_be_off:
            raise UserError(
                f"terms: Exclusion needs the frozen backbone, which {tuning.name} overwrites: "
                "leave the term out, or take LoraTuning"
            )

    def loss(self, step: Step, predictions: Mapping[Asked, Tensor]) -> Tensor:
        """The mean squared difference between the two predictions."""
        return denoising_loss(predictions[OTHERS], predictions[EMPTY], step.noised.weight)
