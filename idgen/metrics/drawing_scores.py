"""The scores of drawings as runs compute them: one number a drawing, then one over all of them.

A `DrawingScore` looks at batches of `Observed` drawings, so what several scores look at is made
once. Where a score does not exist for a drawing it is None: it does not count, and is no zero.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from idgen.metrics.copying import nearest_reference_similarity
from idgen.metrics.diversity import Diversity
from idgen.metrics.leakage import background_leakage
from idgen.metrics.masked import masked_similarity
from idgen.metrics.observed import Found, Observed
from idgen.metrics.similarity import MeanScore, mean_reference_similarity, text_alignment
from idgen.sampling import DrawingRequest

Values = list[float | None]


class DrawingScore:
    """One number a drawing, and its mean over all drawings of all processes.

    Attributes:
        name: In `metrics.json` and in `images.csv`.
    """

    def __init__(self, name: str, each: Callable[[Observed], Values], device: torch.device) -> None:
        """Starts at no drawing.

        Args:
            name: In results.
            each: The score of each of B drawings, None where it does not exist.
            device: Where its sums are, which processes can add up.
        """
        self.name = name
        self._each = each
        self._mean = MeanScore().to(device)

    def add(self, drawings: Observed) -> Values:
        """Scores a batch of B drawings, and adds it to the mean; B may be 0."""
        values = self._each(drawings)
        there = [value for value in values if value is not None]
        self._mean.update(torch.tensor(there, dtype=torch.float64))
        return values

    def result(self) -> float | None:
        """The mean, None if it exists for no drawing; to be called on every process."""
        return self._mean.mean()

    def completed(self, requests: Sequence[DrawingRequest], values: Values) -> Values:
        """Each drawing's score once all processes are done; to be called on every one of them.

        Args:
            requests: Of this process's drawings.
            values: What `add` gave for them.
        """
        return values


class DiversityScore(DrawingScore):
    """Diversity, which a drawing has only together with the others of its prompt."""

    def __init__(self, prompts: int, width: int, device: torch.device) -> None:
        """Starts at no drawing.

        Args:
            prompts: How many prompts there are.
            width: Of DINO's embeddings.
            device: Where its sums are.
        """
        super().__init__("diversity", lambda drawings: [None] * len(drawings), device)
        self._diversity = Diversity(prompts, width).to(device)

    def add(self, drawings: Observed) -> Values:
        """Adds a batch; its scores are known in the end alone."""
        numbers = [request.prompt_index for request in drawings.requests]
        self._diversity.update(drawings.dino, torch.tensor(numbers, dtype=torch.int64))
        return super().add(drawings)

    def result(self) -> float | None:
        """The mean over prompts, None if none has two drawings."""
        by_prompt = self._diversity.by_prompt()
        several = by_prompt[self._diversity.several()]
        return float(several.mean()) if len(several) else None

    def completed(self, requests: Sequence[DrawingRequest], values: Values) -> Values:
        """Its prompt's diversity for each drawing, None for one that was drawn alone."""
        by_prompt, several = self._diversity.by_prompt(), self._diversity.several()
        return [
            float(by_prompt[r.prompt_index]) if several[r.prompt_index] else None for r in requests
        ]


def fidelity_scores(photos: Observed, device: torch.device) -> list[DrawingScore]:
    """DINO, CLIP-I and CLIP-T: what validation shows while training.

    Args:
        photos: Every drawing is compared with each of them.
        device: Where sums are.
    """
    return [
        DrawingScore(
            "dino", lambda d: values(mean_reference_similarity(d.dino, photos.dino)), device
        ),
        DrawingScore(
            "clip_i", lambda d: values(mean_reference_similarity(d.clip, photos.clip)), device
        ),
        DrawingScore("clip_t", lambda d: values(text_alignment(d.clip, d.prompts)), device),
    ]


def overfitting_scores(
    photos: Observed,
    prompts: int,
    device: torch.device,
    wants_a_photos_scene: Callable[[DrawingRequest], bool] = lambda request: False,
) -> list[DrawingScore]:
    """Leakage, masked DINO and CLIP-I, diversity, copying: they tell fidelity from overfitting.

    Args:
        photos: With their masks and backgrounds; scores whose part is missing exist nowhere.
        prompts: How many prompts are drawn.
        device: Where sums are.
        wants_a_photos_scene: Whether a drawing's prompt asks for the scene of a photo, where that
            is known: a background like the photo's is then right, and no leakage.
    """

    def leakage(drawings: Observed) -> Values:
        found = _of_found(drawings.background_clip, photos.background_clip, background_leakage)
        wanted = map(wants_a_photos_scene, drawings.requests)
        return [None if w else value for value, w in zip(found, wanted, strict=True)]

    return [
        DrawingScore("leakage", leakage, device),
        DrawingScore(
            "masked_dino",
            lambda d: _of_found(d.subject_dino, photos.subject_dino, masked_similarity),
            device,
        ),
        DrawingScore(
            "masked_clip_i",
            lambda d: _of_found(d.subject_clip, photos.subject_clip, masked_similarity),
            device,
        ),
        DiversityScore(prompts, photos.dino.shape[1], device),
        DrawingScore(
            "copying", lambda d: values(nearest_reference_similarity(d.dino, photos.dino)), device
        ),
    ]


def values(scores: Tensor) -> Values:
    """Scores, ``B``, as one number a drawing."""
    return [float(score) for score in scores.tolist()]


def _of_found(drawn: Found, own: Found, compare: Callable[[Tensor, Tensor], Tensor]) -> Values:
    if not own.rows:
        return [None] * drawn.count
    return drawn.spread(compare(drawn.embeddings, own.embeddings))
