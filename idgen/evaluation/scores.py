"""The scores that idgen has: what each of their metrics looks at in drawings and photos."""

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from idgen.evaluation.observed import Found, Observed
from idgen.evaluation.score import MetricScore, Score, Values
from idgen.metrics.copying import Copying
from idgen.metrics.diversity import Diversity
from idgen.metrics.leakage import Leakage
from idgen.metrics.leave_one_out import LeaveOneOutSimilarity
from idgen.metrics.masked import MaskedSimilarity
from idgen.metrics.similarity import ImageSimilarity, TextAlignment
from idgen.sampling import DrawingRequest

FIDELITY = ("dino", "clip_i", "clip_t")
TEST_SCORES = (
    *FIDELITY,
    *("leakage", "masked_dino", "masked_clip_i", "diversity", "copying"),
    *("identity_accuracy", "background_accuracy", "background_identity", "pose_copying"),
    *("colour_accuracy", "accessory_accuracy", "altered_identity", "all_right"),
    *("kid_dino", "kid_clip", "kid_background"),
)


class DiversityScore(Score):
    """Diversity, which a drawing has only together with the others of its prompt."""

    name = "diversity"

    def start(self, photos: Observed, prompts: int, device: torch.device) -> Self:
        """Starts at no drawing."""
        self._diversity = Diversity(prompts, photos.dino.shape[1]).to(device)
        return super().start(photos, prompts, device)

    def add(self, drawings: Observed) -> Values:
        """Adds a batch; its scores are known in the end alone."""
        numbers = [request.prompt_index for request in drawings.requests]
        self._diversity.update(drawings.dino, torch.tensor(numbers, dtype=torch.int64))
        return [None] * len(drawings)

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


def fidelity_scores() -> list[Score]:
    """DINO, CLIP-I and CLIP-T: what validation shows while training."""
    return [
        MetricScore("dino", ImageSimilarity(), lambda d, p: (Found.all(d.dino), p.dino)),
        MetricScore("clip_i", ImageSimilarity(), lambda d, p: (Found.all(d.clip), p.clip)),
        MetricScore("clip_t", TextAlignment(), lambda d, p: (Found.all(d.clip), d.prompts)),
    ]


def overfitting_scores(
    wants_a_photos_scene: Callable[[DrawingRequest], bool] = lambda request: False,
) -> list[Score]:
    """Leakage, masked DINO and CLIP-I, diversity, copying: they tell fidelity from overfitting.

    Those of which the photos lack the part, a mask or a background, exist nowhere.

    Args:
        wants_a_photos_scene: Whether a drawing's prompt asks for the scene of a photo, where that
            is known: a background like the photo's is then right, and no leakage.
    """

    def backgrounds(drawings: Observed, photos: Observed) -> tuple[Any, ...] | None:
        others = drawings.background_clip.where(
            lambda row: not wants_a_photos_scene(drawings.requests[row])
        )
        return _beside(others, photos.background_clip)

    return [
        MetricScore("leakage", Leakage(), backgrounds),
        MetricScore(
            "masked_dino", MaskedSimilarity(), lambda d, p: _beside(d.subject_dino, p.subject_dino)
        ),
        MetricScore(
            "masked_clip_i",
            MaskedSimilarity(),
            lambda d, p: _beside(d.subject_clip, p.subject_clip),
        ),
        *copying_scores(),
    ]


def copying_scores() -> list[Score]:
    """Diversity and copying, which look at whole pictures: they need no mask."""
    return [
        DiversityScore(),
        MetricScore("copying", Copying(), lambda d, p: (Found.all(d.dino), p.dino)),
    ]


def _beside(drawn: Found, own: Found) -> tuple[Any, ...] | None:
    return (drawn, own.embeddings) if own.rows else None


def photo_scores(photos: Observed) -> dict[str, float | None]:
    """DINO, CLIP-I and their masked kinds of all of a subject's photos against each other.

    None for one that does not exist: of a single photo, or masked where fewer than two masks are
    known. Every process has all photos and comes to the same.
    """
    embeddings = {
        "dino": photos.dino,
        "clip_i": photos.clip,
        "masked_dino": photos.subject_dino.embeddings,
        "masked_clip_i": photos.subject_clip.embeddings,
    }
    return {name: _mean(of_photos) for name, of_photos in embeddings.items()}


def _mean(photos: Tensor) -> float | None:
    metric = LeaveOneOutSimilarity(sync_on_compute=False).to(photos.device)
    metric.update(photos)
    return metric.mean()
