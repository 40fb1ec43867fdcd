"""Noise that hides a photo's background, less and less while training goes on."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class FadingBackground:
    """Dynamic masked degradation: x_0 + alpha_d eps (1 - m) (after MagicTailor, 2410.13370).

    A hard edge between what counts and what does not is itself a thing to learn. Here the
    background is there, made unrecognisable by noise whose strength alpha_d follows training. The
    paper adds it to pixels and clips them; here it is added to scaled latents, whose variance is
    about 1, for they are what is cached.

    Attributes:
        start: alpha at the start, in standard deviations of the latents.
        end: alpha after the last step.
        gamma: How late it fades, alpha_d = end + (start - end) (1 - (d / D)^gamma) in step d of D;
            1 falls evenly, the paper's 32 stays at the start's strength for most of training.
    """

    start: float = 0.5
    end: float = 0.0
    gamma: float = 32.0

    def __post_init__(self) -> None:
        """Refuses strengths that do not fade.

        Raises:
            ValueError: If a number is out of range.
        """
        if not (0 <= self.end <= self.start and math.isfinite(self.start)):
            raise ValueError("FadingBackground: start must be finite, and end from 0 to start")
        if not (self.gamma > 0 and math.isfinite(self.gamma)):
            raise ValueError("FadingBackground: gamma must be finite and above 0")

    def strength(self, progress: float) -> float:
        """alpha_d, when a share d / D of the training steps is done, from 0 to 1."""
        faded: float = min(progress, 1.0) ** self.gamma
        return self.end + (self.start - self.end) * (1 - faded)

    def __call__(self, clean: Tensor, subject_mask: Tensor, strength: float) -> Tensor:
        """Latents whose background is hidden.

        Args:
            clean: x_0, scaled latents, `B C h w`.
            subject_mask: m, the subject's share of each place, `B 1 h w` in [0, 1].
            strength: alpha_d.

        Returns:
            `B C h w`.
        """
        return clean + strength * torch.randn_like(clean) * (1 - subject_mask)
