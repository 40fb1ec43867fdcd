"""The losses of arXiv 2505.22360, L = sum_k l_k L_k, and those of the methods beside it."""

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity


@dataclass
class LossWeights:
    """The weights l1 to l6, and what counts in the error under f_s alone.

    Attributes:
        diffusion: l1, of the denoising error under the refined condition f_r.
        implicit_text: l2, of the cosine between f_i and f_s.
        implicit_explicit: l3, of minus the cosine between f_i and f'_i.
        text_explicit: l4, of the cosine between f_s and f'_i.
        weak_denoising: l5, of the denoising error under f_s alone (DisenBooth); 0 leaves that
            second pass through the denoiser out.
        background: How much a photo's background counts in the denoising error under f_s alone,
            from 0 to 1: in L5, or in L1 where f_r is f_s. 1 is the whole photo (DisenBooth's weak
            denoising); 0 teaches f_s the subject, and nothing of what is behind it.
        background_preservation: l6, of what the trained backbone under f_s alone and the frozen one
            predict differently beside the subject; 0 leaves the frozen one's pass out.
        prior_preservation: Of the denoising error on class images (DreamBooth), where there are
            any: `data.prior`.
    """

    diffusion: float = 1.0
    implicit_text: float = 1e-3
    implicit_explicit: float = 1e-3
    text_explicit: float = 1e-3
    weak_denoising: float = 0.0
    background: float = 1.0
    background_preservation: float = 0.0
    prior_preservation: float = 1.0

    def __post_init__(self) -> None:
        """Refuses negative weights, which would turn a loss around, and what is no number.

        Raises:
            ValueError: If a weight is negative, infinite or NaN, or background above 1.
        """
        for field in fields(self):
            weight = getattr(self, field.name)
            if weight < 0 or not math.isfinite(weight):
                raise ValueError(f"the loss weight {field.name} must be finite and not negative")
        if self.background > 1:
            raise ValueError("the loss weight background must be from 0 to 1")


def denoising_loss(
    prediction: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    region: Tensor | None = None,
) -> Tensor:
    """L1 (under f_r), L5 (under f_s) and the prior's: the mean squared error to the noise or v.

    With a region r it is a weighted mean over the places p of a picture,
    sum_p r_p |e_p|^2 / (C sum_p r_p): a picture counts the same however much of it the region
    covers. That is the masked training of OneTrainer with its area normalised; kohya's sd-scripts
    leave the normalisation out.

    Args:
        prediction: The denoiser's output, `B C h w`.
        target: What it should have been, `B C h w`.
        weight: Weights over time, `B`, or None for 1.
        region: Weights over place, `B 1 h w`, not negative, or None for 1. A picture where all are
            0 adds no error.

    Returns:
        A scalar.
    """
    error = (prediction.float() - target.float()).square()
    if region is not None:
        region = region.float()
        share = region.mean(dim=(1, 2, 3), keepdim=True)
        error = error * region / share.clamp(min=torch.finfo(torch.float32).tiny)
    by_picture = error.mean(dim=(1, 2, 3))
    return (by_picture if weight is None else by_picture * weight).mean()


def subject_region(subject_mask: Tensor, background: float) -> Tensor:
    """Weights over place, `B 1 h w`: 1 on the subject, less beside it.

    Args:
        subject_mask: The subject's share of each place, `B 1 h w` in [0, 1].
        background: The weight where there is nothing of it, in [0, 1].
    """
    return background + (1 - background) * subject_mask


def implicit_text_loss(implicit: Tensor, text: Tensor) -> Tensor:
    """L2 = mean cos(f_i, f_s): pushes what is irrelevant to the identity off the text.

    Args:
        implicit: f_i, `B D`.
        text: f_s pooled over its real tokens, `B D`.

    Returns:
        A scalar in [-1, 1].
    """
    return cosine_similarity(implicit.float(), text.float(), dim=-1).mean()


def implicit_explicit_loss(implicit: Tensor, explicit: Tensor) -> Tensor:
    """L3 = -mean cos(f_i, f'_i): pulls the implicit feature to the subject-free photo's.

    Args:
        implicit: f_i, `B D`.
        explicit: f'_i, `B D`.

    Returns:
        A scalar in [-1, 1].
    """
    return -cosine_similarity(implicit.float(), explicit.float(), dim=-1).mean()


def text_explicit_loss(text: Tensor, explicit: Tensor) -> Tensor:
    """L4 = mean cos(f_s, f'_i): pushes the identity's text feature off the background.

    Args:
        text: f_s pooled over its real tokens, `B D`.
        explicit: f'_i, `B D`.

    Returns:
        A scalar in [-1, 1].
    """
    return cosine_similarity(text.float(), explicit.float(), dim=-1).mean()
