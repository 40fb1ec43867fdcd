"""What is right in drawings of two mini subjects: who stands where, who it is, what bled over."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from idgen.evaluation.observed import Observed
from idgen.evaluation.score import DrawingScore, Values
from idgen.metrics.encoders import ClipScorer, DinoScorer
from idgen.metrics.halves import half_masks
from idgen.metrics.masked import subject_square
from idgen.metrics.similarity import unit
from idgen.mini.lineup import lineup_seeds
from idgen.mini.pair_references import half_pictures
from idgen.mini.subjects import MiniSubject
from idgen.mini.truth.stored import Tensors, stored
from idgen.sampling import DrawingRequest

BOTH, PLACE, FIRST, SECOND, RIGHT, BLEEDING = PAIR_SCORES = (
    *("both_there", "in_place", "first_identity", "second_identity", "both_right", "bleeding"),
)

INDIVIDUALS = 100
"""In the line-up of each subject, itself among them."""

_OF_CLASS = 12
"""Individuals that a class is told by."""


@dataclass(frozen=True)
class Half:
    """What stands in a half of a drawing.

    Attributes:
        whose: 0 if it is of the first subject's class, 1 if of the second's.
        hit: Whether it is that subject, and no other individual of its class.
        bled: Whether it looks more like its class in the other subject's colours and texture than
            like that subject.
    """

    whose: int
    hit: bool
    bled: bool


class PairLineups:
    """Of two subjects: individuals of each class, and each class with the other's looks."""

    def __init__(
        self,
        subjects: Sequence[MiniSubject],
        dino: DinoScorer,
        clip: ClipScorer,
        individuals: int = INDIVIDUALS,
    ) -> None:
        """Embeds them, or finds them stored.

        Args:
            subjects: The first and the second.
            dino: Loaded; tells individuals apart.
            clip: Loaded; tells classes apart, which DINO does hardly.
            individuals: In each line-up.
        """
        self.same_class = subjects[0].noun == subjects[1].noun
        self.classes = torch.stack([_class_mean(one, clip) for one in subjects])
        self.individuals = [
            _pictures(one.noun, lineup_seeds(one, individuals), dino) for one in subjects
        ]
        both = zip(subjects, reversed(subjects), strict=True)
        self.bled = [_pictures(one.noun, [other.identity_seed], dino)[0] for one, other in both]

    def read(self, dino: Tensor, clip: Tensor) -> list[Half]:
        """Who stands in some halves.

        Args:
            dino: Embeddings of their `subject_square`, `B E`.
            clip: The same by CLIP.
        """
        seen = unit(dino)
        likeness = [_likeness(seen, lineup) for lineup in self.individuals]
        alike = unit(clip) @ self.classes.to(clip.device).T
        if self.same_class:
            # They are told apart by themselves alone.
            alike = torch.stack([found[:, 0] for found in likeness], dim=1)
        whose = alike.argmax(dim=1)
        changed = [(seen @ unit(bled.to(seen.device)).T).amax(dim=1) for bled in self.bled]
        return [
            Half(
                at,
                hit=int(likeness[at][row].argmax()) == 0,
                bled=bool(changed[at][row] > likeness[at][row, 0]),
            )
            for row, at in enumerate(whose.tolist())
        ]


def _likeness(seen: Tensor, lineup: Tensor) -> Tensor:
    """The largest cosine to a picture of each of I individuals, `B I`."""
    individuals, pictures, _ = lineup.shape
    cosines = seen @ unit(lineup.to(seen.device).flatten(0, 1)).T
    return cosines.view(len(seen), individuals, pictures).amax(dim=2)


def _class_mean(subject: MiniSubject, clip: ClipScorer) -> Tensor:
    """The mean direction of CLIP embeddings of other individuals of a subject's class, `E`."""

    def make() -> Tensors:
        seeds = lineup_seeds(subject, _OF_CLASS + 1)[1:]
        return {"clip": clip.embed_images(_squares(subject.noun, seeds))}

    whose = f"{subject.noun} {subject.identity_seed}"
    found = stored(make, what="half class", but=whose, clip=clip.identity)["clip"]
    return unit(unit(found).mean(dim=0, keepdim=True))[0]


def _squares(noun: str, seeds: Sequence[int]) -> list[Tensor]:
    """The pictures of some individuals, cut out."""
    drawings = [drawing for seed in seeds for drawing in half_pictures(noun, seed)]
    return [subject_square(d.picture, d.masks[0]) for d in drawings]


def _pictures(noun: str, seeds: Sequence[int], dino: DinoScorer) -> Tensor:
    """`I K E` of pictures of some individuals, as small as one of two is."""

    def make() -> Tensors:
        found = dino.embed_images(_squares(noun, seeds))
        return {"dino": found.view(len(seeds), -1, found.shape[1])}

    of = " ".join(map(str, seeds))
    return stored(make, what="half line-up", noun=noun, seeds=of, dino=dino.identity)["dino"]


class PairJudge:
    """Tells of each drawing what of `PAIR_SCORES` is right; a batch is looked at once."""

    def __init__(self, lineups: PairLineups, tokens: tuple[str, str]) -> None:
        """Takes what drawings are held against, and the word of each subject in prompts."""
        self._lineups = lineups
        self._tokens = tokens
        self._last: tuple[Observed, dict[str, Values]] | None = None

    def judged(self, drawings: Observed) -> dict[str, Values]:
        """Each of `PAIR_SCORES` for each drawing, None where it does not exist."""
        if self._last is None or self._last[0] is not drawings:
            self._last = drawings, self._judge(drawings)
        return self._last[1]

    def _judge(self, drawings: Observed) -> dict[str, Values]:
        values: dict[str, Values] = {name: [] for name in PAIR_SCORES}
        if drawings.observer.segment is None:
            return {name: [None] * len(drawings) for name in PAIR_SCORES}
        for request, halves in zip(drawings.requests, self._halves(drawings), strict=True):
            for name, value in self._of_one(request, *halves).items():
                values[name].append(value)
        return values

    def _halves(self, drawings: Observed) -> list[tuple[Half | None, Half | None]]:
        """What stands on the left and on the right in each drawing."""
        squares, places = [], []
        for row, whole in enumerate(drawings.found_masks):
            if whole is None:
                continue
            picture = drawings.images[row].permute(1, 2, 0).cpu().contiguous().numpy()
            for side, mask in enumerate(half_masks(picture, whole, drawings.observer.mask)):
                if mask is not None:
                    squares.append(subject_square(picture, mask))
                    places.append((row, side))
        read = []
        if squares:
            observer = drawings.observer
            by_dino, by_clip = (e.embed_images(squares) for e in (observer.dino, observer.clip))
            read = self._lineups.read(by_dino, by_clip)
        found = dict(zip(places, read, strict=True))
        return [(found.get((row, 0)), found.get((row, 1))) for row in range(len(drawings))]

    def _of_one(
        self, request: DrawingRequest, left: Half | None, right: Half | None
    ) -> dict[str, float | None]:
        there = [half for half in (left, right) if half is not None]
        both = sorted(half.whose for half in there) == [0, 1]
        known = [any(half.hit for half in there if half.whose == at) for at in (0, 1)]
        words = request.prompt.split()
        named_first = min((0, 1), key=lambda at: words.index(self._tokens[at]))
        in_place = both and left is not None and left.whose == named_first
        bled = [float(half.bled) for half in there]
        return {
            BOTH: float(both),
            PLACE: float(in_place) if both else None,
            FIRST: float(known[0]),
            SECOND: float(known[1]),
            RIGHT: float(in_place and all(known)),
            BLEEDING: sum(bled) / len(bled) if bled else None,
        }


class PairScore(DrawingScore):
    """The mean over drawings of one of `PAIR_SCORES`."""

    def __init__(self, name: str, judge: PairJudge) -> None:
        """Takes which one, and who judges it."""
        self.name = name
        self._judge = judge

    def each(self, drawings: Observed) -> Values:
        """One a drawing, None where it does not exist."""
        return self._judge.judged(drawings)[self.name]
