"""How a prompt's pull on a drawing is strengthened: outside the denoiser, or as its input."""

from abc import ABC, abstractmethod
from typing import Protocol

import torch
from torch import Tensor

from idgen.backbones.text import TextStates


class Predictor(Protocol):
    """What predicts: a backbone."""

    def predict(
        self, noisy: Tensor, times: Tensor, condition: TextStates, guidance: float | None = None
    ) -> Tensor:
        """The denoiser's output, `B C h w`."""
        ...


class Guidance(ABC):
    """A family's way of guidance."""

    @abstractmethod
    def takes_negative(self, scale: float) -> bool:
        """Whether a negative prompt takes part at a scale."""

    @abstractmethod
    def predict(
        self,
        backbone: Predictor,
        noisy: Tensor,
        times: Tensor,
        condition: TextStates,
        negative: TextStates | None,
        scale: float,
    ) -> Tensor:
        """The guided prediction.

        Args:
            backbone: Predicts.
            noisy: x_t, `B C h w`.
            times: t, `B`.
            condition: Of the prompts, B of them.
            negative: Of the negative prompt, 1 or B of them; None where it takes no part.
            scale: w; 1 is no guidance.

        Returns:
            `B C h w`.
        """


class ClassifierFree(Guidance):
    """`uncond + w (cond - uncond)`, from two predictions (Ho & Salimans 2022)."""

    def takes_negative(self, scale: float) -> bool:
        """At every scale but 1, which leaves the unconditional half out."""
        return scale != 1

    def predict(
        self,
        backbone: Predictor,
        noisy: Tensor,
        times: Tensor,
        condition: TextStates,
        negative: TextStates | None,
        scale: float,
    ) -> Tensor:
        """Both predictions in one call of the denoiser; see `Guidance.predict`."""
        if negative is None:
            return backbone.predict(noisy, times, condition)
        both = negative.then(condition)
        prediction = backbone.predict(torch.cat([noisy, noisy]), torch.cat([times, times]), both)
        without, with_prompt = prediction.chunk(2)
        return without + scale * (with_prompt - without)


class EmbeddedGuidance(Guidance):
    """The scale is an input of the denoiser, which was distilled to guide itself."""

    def takes_negative(self, scale: float) -> bool:
        """Never."""
        return False

    def predict(
        self,
        backbone: Predictor,
        noisy: Tensor,
        times: Tensor,
        condition: TextStates,
        negative: TextStates | None,
        scale: float,
    ) -> Tensor:
        """One prediction; see `Guidance.predict`."""
        return backbone.predict(noisy, times, condition, scale)
