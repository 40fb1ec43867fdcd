"""Drawings as an evaluation keeps them, and what it comes to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch.distributed
from torch import Tensor

from idgen.evaluation.protocol import Protocol
from idgen.sampling import DrawingRequest, Drawings

Means = dict[str, float | None]


@dataclass
class ScoredDrawing:
    """One drawing and its scores.

    Attributes:
        request: What was drawn.
        image: `3 H W` uint8.
        scores: By name; None for one that does not exist for it.
    """

    request: DrawingRequest
    image: Tensor
    scores: Means = field(default_factory=dict)

    @classmethod
    def each(cls, drawings: Drawings) -> list["ScoredDrawing"]:
        """A batch's, not scored yet."""
        both = zip(drawings.requests, drawings.images, strict=True)
        return [cls(request, image) for request, image in both]


@dataclass(frozen=True)
class Evaluation:
    """A suite's drawings and their scores.

    Attributes:
        drawings: Of all processes, in the suite's order.
        scores: By name, over all drawings; None for one that does not exist.
        photo_scores: What the photos score among themselves; empty in validation.
        protocol: What decided the scores; None in validation.
    """

    drawings: list[ScoredDrawing]
    scores: Means = field(default_factory=dict)
    photo_scores: Means = field(default_factory=dict)
    protocol: Protocol | None = None

    def by_prompt(self) -> list[list[ScoredDrawing]]:
        """Each prompt's drawings."""
        found: dict[int, list[ScoredDrawing]] = {}
        for drawing in self.drawings:
            found.setdefault(drawing.request.prompt_index, []).append(drawing)
        return list(found.values())


def mean_scores(drawings: Sequence[ScoredDrawing]) -> dict[str, float]:
    """The mean of each score that all of these drawings, one at least, have."""
    means = {}
    for name in drawings[0].scores:
        there = [v for v in (drawing.scores.get(name) for drawing in drawings) if v is not None]
        if len(there) == len(drawings):
            means[name] = sum(there) / len(there)
    return means


def of_all_processes(drawings: Sequence[ScoredDrawing]) -> list[ScoredDrawing]:
    """This process's drawings and all others', in the suite's order; call it on every process."""
    everyone = [list(drawings)]
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        everyone = [[] for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather_object(everyone, list(drawings))
    all_drawings = [drawing for of_process in everyone for drawing in of_process]
    return sorted(all_drawings, key=lambda drawing: _place(drawing.request))


def in_suites_order(requests: Iterable[DrawingRequest]) -> list[DrawingRequest]:
    """What is to be drawn, prompt by prompt."""
    return sorted(requests, key=_place)


def _place(request: DrawingRequest) -> tuple[int, int]:
    return request.prompt_index, request.number
