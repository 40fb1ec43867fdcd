"""What drawings of a mini subject are held against: the world's own pictures, embedded once."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from idgen.evaluation.observed import Observer
from idgen.masks import Mask, Picture
from idgen.metrics.attributes import LinearProbe, fit_probe
from idgen.metrics.background import scene_prototypes
from idgen.metrics.encoders import ClipScorer, DinoScorer
from idgen.metrics.masked import subject_square
from idgen.mini.captions import article
from idgen.mini.colours import COLOUR_WORDS
from idgen.mini.lineup import lineup_pictures, lineup_seeds
from idgen.mini.references import (
    WORN,
    altered_lineup,
    asked_pictures,
    drawable,
    example,
    other_grounds,
    other_poses,
)
from idgen.mini.scenes import SCENES
from idgen.mini.subjects import MiniSubject
from idgen.mini.truth.stored import Tensors, stored
from idgen.mini.wishes import Looks, Wish
from idgen.mini.world import Drawing

_T = TypeVar("_T")

Shown = Callable[[Sequence[int]], Iterable[int]]
"""Goes through work and shows how far it is, such as `rich.progress.track`."""

EXAMPLES, SHRINKAGE = 1000, 1e-3
"""Pictures that a class's probes are fitted on, and how."""

_TOGETHER = 8
"""Identities whose pictures are embedded at once."""


class Yardsticks:
    """A subject's line-ups, references and probes: each made when first asked for.

    What encoders made of pictures is kept on the disk too, by subject and encoder.

    Attributes:
        subject: The truth about it.
    """

    def __init__(self, subject: MiniSubject) -> None:
        """Makes nothing yet."""
        self.subject = subject
        self._made: dict[object, object] = {}

    def identities(self, dino: DinoScorer, shown: Shown = iter) -> Tensor:
        """The line-up of individuals, the subject first: DINO of `subject_square`, ``I K E``."""

        def make() -> Tensors:
            return {"dino": _embed_lineup(self.subject, dino, shown)}

        return self._stored(make, dino, "line-up")["dino"]

    def altered(self, looks: Looks, dino: DinoScorer) -> Tensor | None:
        """The same of individuals that are all changed alike; None of what cannot be drawn."""
        if not drawable(self.subject.noun, looks):
            return None

        def make() -> Tensors:
            lineup = altered_lineup(self.subject, looks)
            found = dino.embed_images(squares([d for pictures in lineup for d in pictures]))
            return {"dino": found.view(len(lineup), -1, found.shape[1])}

        return self._stored(make, dino, f"altered {looks}")["dino"]

    def scenes(self, clip: ClipScorer) -> Tensor:
        """CLIP embeddings of texts that name the scenes, in the order of `SCENES`, ``S E``."""
        return self._once("scenes", lambda: _embed_scenes(self.subject.noun, clip))

    def references(self, wish: Wish, observer: Observer) -> Tensors | None:
        """The subject as a prompt asks for it: `dino` and `clip` of pictures, ``K E`` each.

        `background` is CLIP of the pictures without their subjects, where the observer can take
        them away. None of what cannot be drawn.
        """
        if not drawable(self.subject.noun, wish.looks):
            return None
        drawings = self._once(("asked", wish), lambda: asked_pictures(self.subject, wish))
        clip, dino = observer.clip, observer.dino
        found = self._stored(
            lambda: {
                "dino": dino.embed_images(pictures(drawings)),
                "clip": clip.embed_images(pictures(drawings)),
            },
            observer,
            f"asked {wish}",
        )
        grounds = self._once(("asked grounds", wish), lambda: _grounds(drawings, observer))
        return {**found, "background": grounds}

    def grounds(self) -> tuple[Tensor, Tensor]:
        """The photos' backgrounds ``R 3 H W``, and others ``K 3 H W``, uint8."""
        return self._once(
            "grounds",
            lambda: (
                _as_pixels([photo.background for photo in self.subject.photos()]),
                _as_pixels([other.background for other in other_grounds(self.subject)]),
            ),
        )

    def poses(self) -> tuple[Tensor, Tensor]:
        """The photos' masks ``R H W``, and others ``K H W``, bool."""
        return self._once(
            "poses",
            lambda: (
                as_masks([photo.mask for photo in self.subject.photos()]),
                as_masks([other.mask for other in other_poses(self.subject)]),
            ),
        )

    def probes(self, observer: Observer) -> dict[str, LinearProbe]:
        """Probes of `colour` and `second`, places in `COLOUR_WORDS`, and `accessory`, in `WORN`.

        They are the class's, and read `looks_of`.
        """
        noun = self.subject.noun

        def make() -> Tensors:
            examples = [example(noun, number) for number in range(EXAMPLES)]
            found = squares([drawing for drawing, _ in examples])
            both = looks_of(observer.dino.embed_images(found), observer.clip.embed_images(found))
            made: Tensors = {}
            for part, answers in ANSWERS.items():
                shown = [answers.index(getattr(looks, part)) for _, looks in examples]
                labels = torch.tensor(shown, device=both.device)
                probe = fit_probe(both, labels, len(answers), SHRINKAGE)
                made |= {f"{part}.weights": probe.weights, f"{part}.bias": probe.bias}
            return made

        made = self._once(
            "probes", lambda: stored(make, what="probes", noun=noun, **_encoders(observer))
        )
        return {p: LinearProbe(made[f"{p}.weights"], made[f"{p}.bias"]) for p in ANSWERS}

    def _once(self, key: object, make: Callable[[], _T]) -> _T:
        if key not in self._made:
            self._made[key] = make()
        return cast(_T, self._made[key])

    def _stored(self, make: Callable[[], Tensors], by: DinoScorer | Observer, what: str) -> Tensors:
        return self._once(
            what,
            lambda: stored(
                make,
                what=what,
                noun=self.subject.noun,
                identity=self.subject.identity_seed,
                scenes=" ".join(self.subject.scenes),
                **_encoders(by),
            ),
        )


ANSWERS: dict[str, tuple[str | None, ...]] = {
    "colour": COLOUR_WORDS,
    "second": COLOUR_WORDS,
    "accessory": WORN,
}
"""What the parts of `Looks` can be."""


def looks_of(dino: Tensor, clip: Tensor) -> Tensor:
    """What the probes read: both embeddings of subjects at unit length, ``B 2E``, float64."""
    both = [normalize(e.double(), dim=1) for e in (dino, clip.to(dino.device))]
    return torch.cat(both, dim=1)


def squares(drawings: Sequence[Drawing]) -> list[Tensor]:
    """The subjects of the world's own pictures, cut out."""
    return [subject_square(d.picture, d.mask) for d in drawings]


def pictures(drawings: Sequence[Drawing]) -> Tensor:
    """The world's own pictures, ``B 3 H W`` uint8."""
    return _as_pixels([d.picture for d in drawings])


def as_masks(masks: Sequence[Mask]) -> Tensor:
    """Masks as ``B H W`` bool."""
    return torch.from_numpy(np.stack(masks))


def _as_pixels(shown: Sequence[Picture]) -> Tensor:
    return torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2)


def _encoders(by: DinoScorer | Observer) -> dict[str, str]:
    if isinstance(by, Observer):
        return {"dino": by.dino.identity, "clip": by.clip.identity}
    return {"dino": by.identity}


def _grounds(drawings: Sequence[Drawing], observer: Observer) -> Tensor:
    """CLIP embeddings of pictures without their subjects, those of which something is left."""
    left = [observer.background(d.picture, d.mask) for d in drawings]
    there = [torch.from_numpy(ground).permute(2, 0, 1) for ground in left if ground is not None]
    return observer.clip.embed_images(there)


def _embed_lineup(subject: MiniSubject, dino: DinoScorer, shown: Shown) -> Tensor:
    seeds, embedded = lineup_seeds(subject), []
    for start in shown(range(0, len(seeds), _TOGETHER)):
        some = seeds[start : start + _TOGETHER]
        found = dino.embed_images(
            squares([p for seed in some for p in lineup_pictures(subject.noun, seed)])
        )
        embedded.append(found.view(len(some), -1, found.shape[1]))
    return torch.cat(embedded)


def _embed_scenes(noun: str, clip: ClipScorer) -> Tensor:
    """The texts name the class: without it CLIP is less sure."""
    named = [(at, phrase) for at, scene in enumerate(SCENES.values()) for phrase in scene.phrases]
    texts = clip.embed_texts([f"{article(noun)} {phrase}" for _, phrase in named])
    return scene_prototypes(texts, [at for at, _ in named])
