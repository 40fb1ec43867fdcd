"""Identity and background accuracy of a subject of the mini world, whose truth is known.

It belongs to what scores, above the rest of this package, which knows of no score.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from idgen.errors import UserError
from idgen.evaluation.observed import Found, Observed
from idgen.evaluation.score import MetricScore, Score
from idgen.fingerprint import fingerprint_fields
from idgen.masks import Mask, Picture
from idgen.metrics.background import BackgroundAccuracy, scene_prototypes
from idgen.metrics.encoders import ClipScorer, DinoScorer
from idgen.metrics.identity import IdentityAccuracy
from idgen.metrics.masked import subject_square
from idgen.mini.captions import article
from idgen.mini.lineup import lineup_pictures, lineup_seeds
from idgen.mini.lineup_cache import LineupCache
from idgen.mini.scenes import SCENES
from idgen.mini.subjects import TRUTH, MiniSubject, read_subject
from idgen.mini.wishes import asked_for
from idgen.sampling import DrawingRequest

Shown = Callable[[Sequence[int]], Iterable[int]]
"""Goes through work and shows how far it is, such as `rich.progress.track`."""

TRUE_MASKS = fingerprint_fields(segmenter="the mini world's truth", version=1)
"""Identity of what knows the masks of photos in a regime."""

_TOGETHER = 8
"""Identities whose pictures are embedded at once."""


class MiniTruth:
    """What is known of drawings of a mini subject that no photo tells.

    Identity exists where a subject is found in a drawing whose prompt leaves its looks alone: a
    recoloured subject is another individual, and a hat hides too much of it. Background exists
    where the prompt names a scene that no photo shows.
    """

    def __init__(self, subject: MiniSubject, lineup: Tensor) -> None:
        """Takes the truth, and the line-up that drawings are told by, of `embed_lineup`."""
        self.subject = subject
        self.lineup = lineup
        self._scenes: Tensor | None = None

    @classmethod
    def of(
        cls, photos: Path, dino: DinoScorer, device: torch.device, shown: Shown = iter
    ) -> Self | None:
        """Draws and embeds the line-up that the subject is to be told from, where none is kept.

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
        known = LineupCache.of(subject, dino, device)
        lineup = known.read()
        if lineup is None:
            with dino.loaded(device):
                lineup = embed_lineup(subject, dino, shown)
            known.write(lineup)
        return cls(subject, lineup.to(device))

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
        return asked_for(request.plain_prompt, self.subject.noun).scene in self.subject.scenes

    def scores(self) -> list[Score]:
        """Identity accuracy and background accuracy."""
        return [
            MetricScore("identity_accuracy", IdentityAccuracy(), self._identities),
            MetricScore("background_accuracy", BackgroundAccuracy(), self._backgrounds),
        ]

    def _identities(self, drawings: Observed, photos: Observed) -> tuple[Any, ...]:
        wishes = [asked_for(r.plain_prompt, self.subject.noun) for r in drawings.requests]
        as_it_is = drawings.subject_dino.where(lambda row: wishes[row].attribute is None)
        return as_it_is, self.lineup, 0

    def _backgrounds(self, drawings: Observed, photos: Observed) -> tuple[Any, ...]:
        wishes = [asked_for(r.plain_prompt, self.subject.noun).scene for r in drawings.requests]
        unseen = self.subject.unseen_scenes
        there = Found.all(drawings.clip).where(lambda row: wishes[row] in unseen)
        asked = [list(SCENES).index(str(wishes[row])) for row in there.rows]
        if self._scenes is None:
            self._scenes = embed_scenes(self.subject.noun, photos.observer.clip)
        return there, self._scenes, torch.tensor(asked, dtype=torch.int64)


def embed_lineup(subject: MiniSubject, dino: DinoScorer, shown: Shown = iter) -> Tensor:
    """Embeddings of the subject's line-up, the subject itself first, by a loaded DINO.

    Returns:
        ``I K E``, of K pictures of each identity's `subject_square`.
    """
    seeds, embedded = lineup_seeds(subject), []
    for start in shown(range(0, len(seeds), _TOGETHER)):
        some = seeds[start : start + _TOGETHER]
        pictures = [p for seed in some for p in lineup_pictures(subject.noun, seed)]
        squares = [subject_square(p.picture, p.mask) for p in pictures]
        found = dino.embed_images(squares)
        embedded.append(found.view(len(some), -1, found.shape[1]))
    return torch.cat(embedded)


def embed_scenes(noun: str, clip: ClipScorer) -> Tensor:
    """Embeddings of the mini world's scenes, in the order of `SCENES`.

    Args:
        noun: Class of the subject, which the texts name: without it CLIP is less sure.
        clip: Loaded.

    Returns:
        ``S E``.
    """
    named = [(at, phrase) for at, scene in enumerate(SCENES.values()) for phrase in scene.phrases]
    texts = clip.embed_texts([f"{article(noun)} {phrase}" for _, phrase in named])
    return scene_prototypes(texts, [at for at, _ in named])
