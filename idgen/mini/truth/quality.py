"""Quality: kernel distances between drawings and the world's own pictures for the same prompts."""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor

from idgen.evaluation.observed import Found, Observed
from idgen.evaluation.score import Score, Values
from idgen.metrics.kernel import KernelDistance
from idgen.mini.truth.stored import Tensors
from idgen.sampling import DrawingRequest

References = Callable[[DrawingRequest, Observed], Tensors | None]
"""A prompt, and photos that are observed, to embeddings of pictures as they should be."""

LOOKS: dict[str, Callable[[Observed], Found]] = {
    "dino": lambda drawings: Found.all(drawings.dino),
    "clip": lambda drawings: Found.all(drawings.clip),
    "background": lambda drawings: drawings.background_clip,
}
"""What is looked at in drawings, by what it is called among the references."""


class QualityScore(Score):
    """`KernelDistance` of a suite's drawings; single drawings have none."""

    def __init__(self, part: str, references: References) -> None:
        """Takes what is compared, one of `LOOKS`, and the pictures as they should be."""
        self.name = f"kid_{part}"
        self._part = part
        self._references = references

    def start(self, photos: Observed, prompts: int, device: torch.device) -> Self:
        """Starts at no drawing."""
        width = (photos.dino if self._part == "dino" else photos.clip).shape[1]
        self._distance = KernelDistance(width).to(device)
        self._known: set[int] = set()
        return super().start(photos, prompts, device)

    def add(self, drawings: Observed) -> Values:
        """Adds a batch of B drawings, and references of prompts that are new; B may be 0."""
        found = LOOKS[self._part](drawings)
        of = [drawings.requests[row].prompt_index for row in found.rows]
        self._distance.update(found.embeddings, _numbers(of), *self._new(drawings, found))
        return [None] * len(drawings)

    def result(self) -> float | None:
        """The distance, None of fewer than two prompts; to be called on every process."""
        return self._distance.distance()

    def _new(self, drawings: Observed, found: Found) -> tuple[Tensor, Tensor]:
        """Embeddings of references for prompts not met yet, and their prompts."""
        embeddings, of = [found.embeddings[:0]], list[int]()
        for request in drawings.requests:
            if request.prompt_index in self._known:
                continue
            self._known.add(request.prompt_index)
            references = self._references(request, self.photos)
            if references is not None:
                embeddings.append(references[self._part].to(found.embeddings))
                of += [request.prompt_index] * len(references[self._part])
        return torch.cat(embeddings), _numbers(of)


def _numbers(of: list[int]) -> Tensor:
    return torch.tensor(of, dtype=torch.int64)
