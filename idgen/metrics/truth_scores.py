"""Identity and background accuracy of a subject of the mini world, whose truth is known."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from idgen.metrics.background import background_hits, scene_prototypes
from idgen.metrics.drawing_scores import DrawingScore, Values
from idgen.metrics.encoders import ClipScorer, DinoScorer
from idgen.metrics.identity import identity_hits
from idgen.metrics.masked import subject_square
from idgen.metrics.observed import Found, Observed
from idgen.mini.captions import article
from idgen.mini.lineup import lineup_pictures, lineup_seeds
from idgen.mini.scenes import SCENES
from idgen.mini.subjects import MiniSubject
from idgen.mini.wishes import asked_for
from idgen.sampling import DrawingRequest

_TOGETHER = 8
"""Identities whose pictures are embedded at once."""


def embed_lineup(
    subject: MiniSubject,
    dino: DinoScorer,
    shown: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> Tensor:
    """Embeddings of the subject's line-up, the subject itself first.

    Args:
        subject: The subject.
        dino: Loaded.
        shown: Goes through the work and shows how far it is, such as `rich.progress.track`.

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


def wants_a_photos_scene(subject: MiniSubject, request: DrawingRequest) -> bool:
    """Whether a prompt asks for a scene that one of the subject's photos shows."""
    return asked_for(request.plain_prompt, subject.noun).scene in subject.scenes


def truth_scores(
    subject: MiniSubject, lineup: Tensor, scenes: Tensor, device: torch.device
) -> list[DrawingScore]:
    """Identity accuracy and background accuracy.

    Identity exists where a subject is found in a drawing whose prompt leaves its looks alone: a
    recoloured subject is another individual, and a hat hides too much of it. Background exists
    where the prompt names a scene that no photo shows.

    Args:
        subject: The truth.
        lineup: Of `embed_lineup`, ``I K E``.
        scenes: Of `embed_scenes`, ``S E``.
        device: Where sums are.
    """

    def identity(drawings: Observed) -> Values:
        found = drawings.subject_dino
        wishes = [asked_for(r.plain_prompt, subject.noun) for r in drawings.requests]
        kept = [n for n, row in enumerate(found.rows) if wishes[row].attribute is None]
        of_those = Found([found.rows[n] for n in kept], found.embeddings[kept], found.count)
        return of_those.spread(identity_hits(of_those.embeddings, lineup, right=0))

    def background(drawings: Observed) -> Values:
        wishes = [asked_for(r.plain_prompt, subject.noun).scene for r in drawings.requests]
        rows = [row for row, scene in enumerate(wishes) if scene in subject.unseen_scenes]
        asked = torch.tensor([list(SCENES).index(str(wishes[row])) for row in rows]).long()
        there = Found(rows, drawings.clip[rows], len(drawings))
        return there.spread(background_hits(there.embeddings, scenes, asked))

    return [
        DrawingScore("identity_accuracy", identity, device),
        DrawingScore("background_accuracy", background, device),
    ]
