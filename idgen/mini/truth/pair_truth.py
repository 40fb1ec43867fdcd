"""The true scores of drawings of two subjects of the mini world."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from idgen.evaluation.observed import Found, Observed
from idgen.evaluation.score import MetricScore, Score
from idgen.metrics.background import BackgroundAccuracy, scene_prototypes
from idgen.metrics.encoders import ClipScorer, DinoScorer
from idgen.mini.captions import article
from idgen.mini.scenes import SCENES
from idgen.mini.subjects import MiniSubject, read_subject
from idgen.mini.truth.pair_judge import PAIR_SCORES, PairJudge, PairLineups, PairScore
from idgen.mini.wishes import asked_for
from idgen.sampling import DrawingRequest


class PairTruth:
    """What is known of drawings of two mini subjects that no photo tells.

    Each half of a drawing is looked at by itself: who is named first is to stand on the left, as
    in training. Background accuracy exists where the prompt names a scene that no photo shows.

    Attributes:
        subjects: The truth about the first and the second.
    """

    def __init__(
        self, subjects: Sequence[MiniSubject], tokens: tuple[str, str], lineups: PairLineups
    ) -> None:
        """Takes the truth, and the word of each in prompts."""
        self.subjects = subjects
        self._tokens = tokens
        self._lineups = lineups
        self._scenes: Tensor | None = None

    @classmethod
    def of(
        cls,
        photos: Sequence[Path],
        tokens: tuple[str, str],
        dino: DinoScorer,
        clip: ClipScorer,
        device: torch.device,
    ) -> Self | None:
        """Embeds the line-ups that the subjects are to be told from, or finds them stored.

        Args:
            photos: The folders of the first's and of the second's.
            tokens: The word of each in prompts.
            dino: Loaded for it, and freed.
            clip: Likewise.
            device: Where to embed.

        Returns:
            The truth; None if one of them is not the mini world's.

        Raises:
            UserError: If a model cannot be had.
        """
        subjects = [subject for folder in photos if (subject := read_subject(folder)) is not None]
        if len(subjects) < len(photos):
            return None
        with dino.loaded(device), clip.loaded(device):
            return cls(subjects, tokens, PairLineups(subjects, dino, clip))

    def scores(self) -> list[Score]:
        """Who stands where, who it is, what bled over, and the background."""
        judge = PairJudge(self._lineups, self._tokens)
        return [
            *(PairScore(name, judge) for name in PAIR_SCORES),
            MetricScore("background_accuracy", BackgroundAccuracy(), self._backgrounds),
        ]

    def _scene(self, request: DrawingRequest) -> str | None:
        return asked_for(request.plain_prompt, self.subjects[0].noun).scene

    def _backgrounds(self, drawings: Observed, photos: Observed) -> tuple[Any, ...]:
        asked = [self._scene(request) for request in drawings.requests]
        shown = {scene for subject in self.subjects for scene in subject.scenes}
        there = Found.all(drawings.clip).where(
            lambda row: asked[row] is not None and asked[row] not in shown
        )
        numbers = [list(SCENES).index(str(asked[row])) for row in there.rows]
        if self._scenes is None:
            self._scenes = self._embed_scenes(photos.observer.clip)
        return there, self._scenes, torch.tensor(numbers, dtype=torch.int64)

    def _embed_scenes(self, clip: ClipScorer) -> Tensor:
        both = " and ".join(article(subject.noun) for subject in self.subjects)
        named = [(n, phrase) for n, s in enumerate(SCENES.values()) for phrase in s.phrases]
        texts = clip.embed_texts([f"{both} {phrase}" for _, phrase in named])
        return scene_prototypes(texts, [number for number, _ in named])
