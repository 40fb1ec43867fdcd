"""The true scores of drawings of a subject of the mini world."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from idgen.errors import UserError
from idgen.evaluation.observed import Found, Observed
from idgen.evaluation.score import MetricScore, Score
from idgen.fingerprint import fingerprint_fields
from idgen.masks import Mask, Picture
from idgen.metrics.background import BackgroundAccuracy
from idgen.metrics.encoders import DinoScorer
from idgen.metrics.identity import IdentityAccuracy
from idgen.metrics.poses import PoseCopying
from idgen.metrics.recognition import BackgroundIdentity
from idgen.mini.scenes import SCENES
from idgen.mini.subjects import TRUTH, MiniSubject, read_subject
from idgen.mini.truth.parts import PARTS, PartJudge, PartScore
from idgen.mini.truth.pixels import found_masks, world_pixels
from idgen.mini.truth.quality import LOOKS, QualityScore
from idgen.mini.truth.stored import Tensors
from idgen.mini.truth.yardsticks import Shown, Yardsticks
from idgen.mini.wishes import AS_IT_IS, Wish, asked_for
from idgen.sampling import DrawingRequest

TRUE_MASKS = fingerprint_fields(segmenter="the mini world's truth", version=1)
"""Identity of what knows the masks of photos in a regime."""


class MiniTruth:
    """What is known of drawings of a mini subject that no photo tells.

    Identity exists where a subject is found in a drawing whose prompt leaves its looks alone: a
    recoloured subject is another individual, and a hat hides too much of it. Background exists
    where the prompt names a scene that no photo shows, background identity where it names no scene
    that a photo shows, a copied pose where the subject wears nothing, which would change its mask.

    Attributes:
        subject: The truth about it.
        yardsticks: What its drawings are held against.
    """

    def __init__(self, subject: MiniSubject) -> None:
        """Takes the truth; nothing is embedded yet."""
        self.subject = subject
        self.yardsticks = Yardsticks(subject)

    @classmethod
    def of(
        cls, photos: Path, dino: DinoScorer, device: torch.device, shown: Shown = iter
    ) -> Self | None:
        """Draws and embeds the line-up that the subject is to be told from, or finds it stored.

        Args:
            photos: The subject's folder.
            dino: Loaded for it, and freed.
            device: Where to embed.
            shown: Shows how far it is.

        Returns:
            The truth, None of a subject that is not the mini world's.

        Raises:
            UserError: If DINO cannot be had.
        """
        subject = read_subject(photos)
        if subject is None:
            return None
        truth = cls(subject)
        with dino.loaded(device):
            truth.yardsticks.identities(dino, shown)
        return truth

    def parts(self, photos: Sequence[Tensor]) -> tuple[list[Mask], list[Picture]] | None:
        """The true masks and backgrounds of photos, in a regime, whatever training was given.

        Args:
            photos: The subject's, `3 64 64` uint8 each.

        Returns:
            Masks `64 64` and backgrounds `64 64 3`; None of a plain subject, whose photos are taken
            apart as any others.

        Raises:
            UserError: If a photo is none of the subject's.
        """
        if self.subject.regime.is_plain:
            return None
        known = {drawing.picture.tobytes(): drawing for drawing in self.subject.photos()}
        pictures = [photo.permute(1, 2, 0).contiguous().numpy().tobytes() for photo in photos]
        if any(picture not in known for picture in pictures):
            raise UserError(
                f"a photo is none of those that {TRUTH} beside it tells of; write the subject "
                "again with idgen.mini.subjects.write_subject, or remove the file"
            )
        drawings = [known[picture] for picture in pictures]
        return [d.mask for d in drawings], [d.background for d in drawings]

    def wants_a_photos_scene(self, request: DrawingRequest) -> bool:
        """Whether a prompt asks for a scene that one of the subject's photos shows."""
        return self._wish(request).scene in self.subject.scenes

    def scores(self) -> list[Score]:
        """Identity, background, what is copied, the parts of what was asked for, and quality."""
        judge = PartJudge(self.yardsticks)
        return [
            MetricScore("identity_accuracy", IdentityAccuracy(), self._identities),
            MetricScore("background_accuracy", BackgroundAccuracy(), self._backgrounds),
            MetricScore("background_identity", BackgroundIdentity(), self._grounds),
            MetricScore("pose_copying", PoseCopying(), self._poses),
            *(PartScore(name, judge) for name in PARTS),
            *(QualityScore(part, self._references) for part in LOOKS),
        ]

    def _wish(self, request: DrawingRequest) -> Wish:
        return asked_for(request.plain_prompt, self.subject.noun)

    def _identities(self, drawings: Observed, photos: Observed) -> tuple[Any, ...]:
        wishes = [self._wish(request) for request in drawings.requests]
        as_it_is = drawings.subject_dino.where(lambda row: wishes[row].looks == AS_IT_IS)
        lineup = self.yardsticks.identities(photos.observer.dino)
        return as_it_is, lineup.to(as_it_is.embeddings.device), 0

    def _backgrounds(self, drawings: Observed, photos: Observed) -> tuple[Any, ...]:
        wishes = [self._wish(request).scene for request in drawings.requests]
        unseen = self.subject.unseen_scenes
        there = Found.all(drawings.clip).where(lambda row: wishes[row] in unseen)
        asked = [list(SCENES).index(str(wishes[row])) for row in there.rows]
        scenes = self.yardsticks.scenes(photos.observer.clip)
        return there, scenes, torch.tensor(asked, dtype=torch.int64)

    def _grounds(self, drawings: Observed, photos: Observed) -> tuple[Any, ...]:
        asking = self.wants_a_photos_scene
        free = found_masks(drawings).where(lambda row: not asking(drawings.requests[row]))
        shown = Found(free.rows, world_pixels(drawings, free.rows), free.count)
        return shown, free.embeddings, *self.yardsticks.grounds()

    def _poses(self, drawings: Observed, photos: Observed) -> tuple[Any, ...]:
        bare = found_masks(drawings).where(
            lambda row: self._wish(drawings.requests[row]).looks.accessory is None
        )
        return bare, *self.yardsticks.poses()

    def _references(self, request: DrawingRequest, photos: Observed) -> Tensors | None:
        return self.yardsticks.references(self._wish(request), photos.observer)
