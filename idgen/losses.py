"""The losses of arXiv 2505.22360, L = sum_k l_k L_k, and those of the methods beside it."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, cosine_similarity, mse_loss, normalize


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


def attention_loss(attention: Tensor, subject_mask: Tensor) -> Tensor:
    """Where [V] is looked for is pulled to the subject (Break-A-Scene, Avrahami et al. 2023).

    The mean squared difference between A / max A and the mask: [V] is to be seen on the whole
    subject, and nowhere else. Ours: max A has no gradient. With one, a peak beside the subject is
    never pulled down, for there A / max A is 1 whatever A is.

    Args:
        attention: A, how much each place looks at [V], `B h w`, not negative.
        subject_mask: The subject's share of each place of the latents, `B 1 H W` in [0, 1].

    Returns:
        A scalar in [0, 1].
    """
    height, width = attention.shape[1:]
    mask = adaptive_avg_pool2d(subject_mask.float(), (height, width)).squeeze(1)
    highest = attention.detach().amax(dim=(1, 2), keepdim=True)
    return mse_loss(attention / highest.clamp(min=torch.finfo(torch.float32).tiny), mask)


def load_balance_loss(gates: Tensor) -> Tensor:
    """K sum_k load_k^2, after the Switch Transformer's K sum_k f_k P_k (arXiv 2101.03961, eq. 4).

    There f_k is the share of tokens that are sent to expert k and P_k the router's mean
    probability of it. Here each token goes to all experts by their gates, so that both are the
    mean gate, load_k.

    Args:
        gates: The router's weights, `B N K`, each token's summing to 1.

    Returns:
        A scalar, 1 where all experts have the same load, K where one has all of it.
    """
    load = gates.float().flatten(end_dim=-2).mean(dim=0)
    return len(load) * load.square().sum()


def expert_overlap_loss(residuals: Sequence[Tensor]) -> Tensor:
    """The mean of cos^2(r_k, r_l) over tokens and over pairs of experts k < l.

    r_k is what expert k adds to a token: experts that all do the same are none. Outputs of experts
    are kept apart so by InstructMoLE (arXiv 2512.21788); what a photo's features mean, by SpotDiff
    (arXiv 2510.07340).

    Args:
        residuals: `B N D`, two or more of them. One that is 0, as at the start, is at right angles
            to all others.

    Returns:
        A scalar in [0, 1].
    """
    unit = normalize(torch.stack([r.float() for r in residuals], dim=-2), dim=-1, eps=1e-6)
    cosines = unit @ unit.transpose(-1, -2)
    count, device = len(residuals), cosines.device
    first, second = torch.triu_indices(count, count, offset=1, device=device)
    return cosines[..., first, second].square().mean()
