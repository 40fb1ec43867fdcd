"""L1, L5, L6 and the losses of class and scene images: errors of the denoiser."""

from collections.abc import Mapping

from torch import Tensor

from idgen.errors import UserError
from idgen.losses import denoising_loss, subject_region
from idgen.models.conditioning import Conditioning
from idgen.models.tuning import Tuning
from idgen.terms.step import FROZEN, PRIOR, REFINED, SCENES, TEXT, Asked, Step
from idgen.terms.term import Term


class Diffusion(Term):
    """L1: the denoising error under the refined condition f_r (arXiv 2505.22360).

    With `background` below 1 it is the masked loss of OneTrainer and kohya's sd-scripts.
    """

    asks: tuple[Asked, ...] = (REFINED,)

    def __init__(self, weight: float = 1.0, background: float = 1.0) -> None:
        """Sets how much counts.

        Args:
            weight: l1.
            background: How much the photo beside its subject counts, from 0 to 1.

        Raises:
            ValueError: If a number is out of range.
        """
        super().__init__(weight)
        if not 0 <= background <= 1:
            raise ValueError(f"{type(self).__name__}: background must be from 0 to 1")
        self.background = background

    @property
    def reads_masks(self) -> bool:
        """Where the photo beside its subject counts less."""
        return self.background != 1

    def loss(self, step: Step, predictions: Mapping[Asked, Tensor]) -> Tensor:
        """The mean squared error to the target of the noise process."""
        whole = self.background == 1
        region = None if whole else subject_region(step.batch.subject_mask, self.background)
        noised = step.noised
        return denoising_loss(predictions[self.asks[0]], noised.target, noised.weight, region)


class WeakDenoising(Diffusion):
    """L5: the denoising error under f_s alone (DisenBooth, Chen et al. 2024).

    It teaches the prompt to draw without a photo. With `background` 0 the prompt learns the
    subject, and nothing of what is behind it.
    """

    asks = (TEXT,)

    def idle(self, conditioning: Conditioning, tuning: Tuning) -> str:
        """Where f_r is f_s, L1 is that error already."""
        return "" if conditioning.decouples else "f_r is f_s, so that L1 is the same error"


class BackgroundPreservation(Term):
    """L6: outside the subject's mask, f_s draws as the frozen backbone does without [V].

    Known from OneTrainer (`masked_prior_preservation_weight`) and ai-toolkit
    (`inverted_mask_prior`).
    """

    asks = (TEXT, FROZEN)
    reads_masks = True

    def check(self, tuning: Tuning) -> None:
        """Refuses tunings after which the frozen backbone is there no more.

        Raises:
            UserError: If the tuning is one.
        """
        if not tuning.can_be_off:
            raise UserError(
                "terms: background_preservation needs the frozen backbone, which "
                f"{tuning.name} overwrites: leave the term out, or take LoraTuning"
            )

    def loss(self, step: Step, predictions: Mapping[Asked, Tensor]) -> Tensor:
        """The mean squared difference between the two predictions, beside the subject."""
        beside = 1 - step.batch.subject_mask
        return denoising_loss(predictions[TEXT], predictions[FROZEN], step.noised.weight, beside)


class PriorPreservation(Term):
    """The denoising error on class images under their own prompt (Ruiz et al. 2023, eq. 2)."""

    asks = (PRIOR,)
    needs_class_images = True

    def loss(self, step: Step, predictions: Mapping[Asked, Tensor]) -> Tensor:
        """The mean squared error to the target of the noise process."""
        assert step.prior is not None, "PRIOR has refused a step without class images"
        return denoising_loss(predictions[PRIOR], step.prior.target, step.prior.weight)


class SceneDiffusion(Term):
    """L1 of scene images: the error under the f_r of their class's prompt and their own f'_i.

    It teaches what f'_i says of a scene, over many of them, while no image shows the subject.
    """

    asks = (SCENES,)
    needs_scene_images = True

    def __init__(self, weight: float = 1.0, subject: float = 1.0) -> None:
        """Sets how much counts.

        Args:
            weight: Of the term.
            subject: How much what stands in the scene counts beside the scene, from 0 to 1.

        Raises:
            ValueError: If a number is out of range.
        """
        super().__init__(weight)
        if not 0 <= subject <= 1:
            raise ValueError(f"{type(self).__name__}: subject must be from 0 to 1")
        self.subject = subject

    def idle(self, conditioning: Conditioning, tuning: Tuning) -> str:
        """Where f_r is f_s, f'_i has nothing to say."""
        tells = conditioning.explicit or conditioning.implicit
        return "" if tells else "f_r is f_s, whatever scene an image shows"

    def loss(self, step: Step, predictions: Mapping[Asked, Tensor]) -> Tensor:
        """The mean squared error to the target of the noise process."""
        noised, batch = step.scenes, step.batch.scenes
        assert noised is not None, "SCENES has refused a step without scene images"
        assert batch is not None, "SCENES has refused a step without scene images"
        whole = self.subject == 1
        region = None if whole else subject_region(1 - batch.subject_mask, self.subject)
        return denoising_loss(predictions[SCENES], noised.target, noised.weight, region)
