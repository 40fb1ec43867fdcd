"""Which of the parts that a prompt asks for are in a drawing: colours, what is worn, who it is."""

from math import prod

import torch

from idgen.evaluation.observed import Found, Observed
from idgen.evaluation.score import DrawingScore, Values
from idgen.metrics.background import background_hits
from idgen.metrics.identity import identity_hits
from idgen.mini.scenes import SCENES
from idgen.mini.truth.yardsticks import ANSWERS, Yardsticks, looks_of
from idgen.mini.wishes import AS_IT_IS, Wish, asked_for

COLOUR, ACCESSORY, ALTERED, ALL = (
    *("colour_accuracy", "accessory_accuracy"),
    *("altered_identity", "all_right"),
)
PARTS = (COLOUR, ACCESSORY, ALTERED, ALL)


class PartJudge:
    """Tells of each drawing which of `PARTS` are right; a batch is looked at once."""

    def __init__(self, yardsticks: Yardsticks) -> None:
        """Takes what drawings are held against."""
        self._yardsticks = yardsticks
        self._last: tuple[Observed, dict[str, Values]] | None = None

    def judged(self, drawings: Observed) -> dict[str, Values]:
        """1 or 0 a drawing for each of `PARTS`, None where it was not asked for or not found."""
        if self._last is None or self._last[0] is not drawings:
            self._last = drawings, self._judge(drawings)
        return self._last[1]

    def _judge(self, drawings: Observed) -> dict[str, Values]:
        noun = self._yardsticks.subject.noun
        wishes = [asked_for(r.plain_prompt, noun) for r in drawings.requests]
        colour, second, accessory = (
            self._probed(drawings, wishes, part) for part in ("colour", "second", "accessory")
        )
        colours = [_all(some) for some in zip(colour, second, strict=True)]
        identity = self._identities(drawings, wishes)
        scene = self._scenes(drawings, wishes)
        every = zip(identity, colours, accessory, scene, strict=True)
        return {
            COLOUR: colours,
            ACCESSORY: accessory,
            ALTERED: [
                None if wish.looks == AS_IT_IS else hit
                for wish, hit in zip(wishes, identity, strict=True)
            ],
            # Where no subject is found nothing is known of it.
            ALL: [None if some[0] is None else _all(some) for some in every],
        }

    def _probed(self, drawings: Observed, wishes: list[Wish], part: str) -> Values:
        """Whether a part of the looks is as asked, by the class's probe."""
        asked = [getattr(wish.looks, part) for wish in wishes]
        if not any(asked):
            return [None] * len(drawings)
        there = drawings.subject_dino.where(lambda row: asked[row] is not None)
        clip = drawings.subject_clip.where(lambda row: asked[row] is not None)
        read = looks_of(there.embeddings, clip.embeddings)
        answers = self._yardsticks.probes(drawings.observer)[part].answers(read)
        right = [ANSWERS[part].index(asked[row]) for row in there.rows]
        hits = (answers == torch.tensor(right, device=answers.device)).double()
        return there.spread(torch.where(read.isnan().any(dim=1), torch.nan, hits))

    def _identities(self, drawings: Observed, wishes: list[Wish]) -> Values:
        """Whether the subject is told from others that are changed as the prompt asks."""
        found = drawings.subject_dino
        hits = torch.zeros(len(found.rows), dtype=torch.float64)
        known = []
        for place, row in enumerate(found.rows):
            lineup = self._yardsticks.altered(wishes[row].looks, drawings.observer.dino)
            known.append(lineup is not None)
            if lineup is not None:
                one = found.embeddings[place : place + 1]
                hits[place] = identity_hits(one, lineup.to(one.device), 0)[0]
        told = [place for place, is_known in enumerate(known) if is_known]
        rows = [found.rows[place] for place in told]
        return Found(rows, found.embeddings[told], found.count).spread(hits[told])

    def _scenes(self, drawings: Observed, wishes: list[Wish]) -> Values:
        """Whether the scene is the one that the prompt names, by CLIP."""
        there = Found.all(drawings.clip).where(lambda row: wishes[row].scene is not None)
        asked = [list(SCENES).index(str(wishes[row].scene)) for row in there.rows]
        scenes = self._yardsticks.scenes(drawings.observer.clip)
        hits = background_hits(there.embeddings, scenes, torch.tensor(asked, dtype=torch.int64))
        return there.spread(hits)


class PartScore(DrawingScore):
    """The share of drawings in which one of `PARTS` is right."""

    def __init__(self, name: str, judge: PartJudge) -> None:
        """Takes which part, and who judges it."""
        self.name = name
        self._judge = judge

    def each(self, drawings: Observed) -> Values:
        """1 or 0, None where the part was not asked for or no subject is found."""
        return self._judge.judged(drawings)[self.name]


def _all(hits: tuple[float | None, ...]) -> float | None:
    """Whether all that exist are 1; None if none does."""
    there = [hit for hit in hits if hit is not None]
    return prod(there) if there else None
