"""Which of several masks is the subject's: by itself, by the set's other photos, by its noun."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

KEPT = 6
"""Candidates of a photo that are looked at closely."""

_ALIKE = 0.9
_LIKENESS_WEIGHT = 1.0
_NOUN_WEIGHT = 1.0
_NOUN_SCALE = 100.0
_CREDIBLE = 0.7


@dataclass(frozen=True)
class Candidates:
    """The candidates of one photo, the best first.

    Attributes:
        logits: Mask logits at the model's own size, `K h w`.
        scores: Of `score_candidates`, K.
        embeddings: Of what each mask cuts out, `K E`, of unit length; None without an encoder.
        noun: Cosine of each with the class noun, K; None without a CLIP.
        is_found: Whether a detector, if there is one, found the noun.
    """

    logits: Tensor
    scores: Tensor
    embeddings: Tensor | None = None
    noun: Tensor | None = None
    is_found: bool = True


def score_candidates(masks: Tensor, predicted_iou: Tensor) -> Tensor:
    """How likely each candidate is the subject of the photo, judged by this photo alone.

    ``score = size * (predicted IoU + agreement + centredness + 1 - border)`` where

    - agreement: over all prompts, the mean IoU with the prompt's most similar candidate: the
      subject is what different prompts find again;
    - centredness: `exp(-2 d^2)`, d the distance of the mask's centre of mass from the photo's
      centre, where 1 is half the photo's height or width;
    - border: the part of the photo's border that it covers: grounds do, subjects do not;
    - size: 1 from 4 % to 70 % of the photo, falling in a line to 0 at 0 % and at 95 %.

    Args:
        masks: `P C h w`, boolean: C candidates for each of P prompts.
        predicted_iou: The model's own estimate of their quality, `P C`.

    Returns:
        `P*C`, prompts first.
    """
    prompts, candidates, height, width = masks.shape
    flat = masks.flatten(0, 1).flatten(1).float()
    area = flat.sum(1)
    agreement = _overlaps(flat).view(-1, prompts, candidates).amax(2).mean(1)
    y = torch.linspace(-1, 1, height, device=flat.device).repeat_interleave(width)
    x = torch.linspace(-1, 1, width, device=flat.device).repeat(height)
    centre = torch.stack([flat @ y, flat @ x]) / area.clamp(min=1)
    centredness = torch.exp(-2 * centre.square().sum(0))
    one = masks.flatten(0, 1).float()
    sides = (one[:, 0], one[:, -1], one[:, :, 0], one[:, :, -1])
    border = torch.cat(sides, dim=1).mean(1)
    share = area / (height * width)
    size = (share / 0.04).clamp(max=1) * ((0.95 - share) / 0.25).clamp(0, 1)
    return size * (predicted_iou.flatten() + agreement + centredness + 1 - border)


def _overlaps(flat: Tensor) -> Tensor:
    """IoU of each of N masks `N P` with each, `N N`."""
    area = flat.sum(1)
    intersection = flat @ flat.T
    return intersection / (area[:, None] + area[None] - intersection).clamp(min=1)


def keep_best(masks: Tensor, scores: Tensor, count: int = KEPT) -> list[int]:
    """The indices of the best candidates, none of which is nearly the same as a better one.

    Args:
        masks: `N h w`, boolean.
        scores: N.
        count: How many at most; at least one is kept.
    """
    overlaps = _overlaps(masks.flatten(1).float())
    kept: list[int] = []
    for index in scores.argsort(descending=True, stable=True).tolist():
        if len(kept) < count and all(overlaps[index, other] < _ALIKE for other in kept):
            kept.append(index)
    return kept


def choose(digest: str, candidates: Mapping[str, Candidates]) -> int:
    """The index of the candidate of a photo that is the subject.

    ``score + likeness + noun`` where

    - score: of `score_candidates`;
    - likeness: over the set's other photos, the mean cosine with that photo's most similar
      candidate among its credible ones (those whose score is near its best). Embeddings are
      first taken relative to the mean over all photos' candidates, which takes out what any
      cut-out has in common;
    - noun: the softmax, over the photo's candidates, of 100 times the cosine with the noun.

    The last two are left out where their model is, and likeness for a photo on its own.

    Args:
        digest: The photo's.
        candidates: Of all photos of the set, by digest.
    """
    own = candidates[digest]
    total = own.scores.clone()
    if own.noun is not None:
        total += _NOUN_WEIGHT * (_NOUN_SCALE * own.noun).softmax(0)
    # By digest, so that sums do not depend on the photos' names.
    others = [candidates[other] for other in sorted(candidates) if other != digest]
    if own.embeddings is not None and others:
        total += _LIKENESS_WEIGHT * _likeness(own, others)
    return int(total.argmax())


def is_chosen_alone(digest: str, candidates: Mapping[str, Candidates], chosen: int) -> bool:
    """Whether a photo by itself would give the candidate that was chosen with the set in view.

    Args:
        digest: The photo's.
        candidates: Of all photos of the set, by digest.
        chosen: What `choose` gave.
    """
    return choose(digest, {digest: candidates[digest]}) == chosen


def _likeness(own: Candidates, others: list[Candidates]) -> Tensor:
    embeddings = [c.embeddings for c in (own, *others) if c.embeddings is not None]
    middle = torch.stack([e.mean(0) for e in embeddings]).mean(0)
    mine = normalize(embeddings[0] - middle, dim=1)
    nearest = []
    for other, embedded in zip(others, embeddings[1:], strict=True):
        credible = other.scores >= _CREDIBLE * other.scores.max()
        theirs = normalize(embedded[credible] - middle, dim=1)
        nearest.append((mine @ theirs.T).amax(1))
    return torch.stack(nearest).mean(0)
