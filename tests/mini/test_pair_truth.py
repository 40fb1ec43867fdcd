"""Sanity of the scale of two subjects, on pictures that the mini world draws itself."""

from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor

from idgen.evaluation.observed import Observed, Observer
from idgen.metrics.encoders import ClipScorer, DinoScorer
from idgen.mini.subjects import DEMO_SUBJECTS
from idgen.mini.truth import PAIR_SCORES, PairTruth
from idgen.mini.truth.pair_judge import Half, PairJudge, PairLineups
from idgen.prepare import SamSegmenter
from idgen.prepare.segmenters.segmenter import of_drawings
from idgen.sampling import DrawingRequest
from tools import pair_bounds

CPU = torch.device("cpu")
PAIR = (DEMO_SUBJECTS["robot"], DEMO_SUBJECTS["cat"])
ASKED = pair_bounds.requests(PAIR, 1)


class World:
    """The scorers of the mini world, and line-ups of twelve."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.lineups = PairLineups(PAIR, observer.dino, observer.clip, individuals=12)

    def scores(self, pictures: Sequence[Tensor]) -> dict[str, float | None]:
        truth = PairTruth(PAIR, pair_bounds.TOKENS, self.lineups)
        drawings = Observed(torch.stack(list(pictures)), self.observer, ASKED)
        photos = Observed(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), self.observer)
        found = {}
        for score in truth.scores():
            score.start(photos, len(ASKED), CPU).add(drawings)
            found[score.name] = score.result()
        return found


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with SamSegmenter().loaded(CPU, []) as segment:
        clip, dino = ClipScorer().load(CPU), DinoScorer().load(CPU)
        yield World(Observer(clip, dino, of_drawings(segment)))


@pytest.fixture(scope="module")
def scored(world: World) -> dict[str, dict[str, float | None]]:
    """The scores of each row of `tools.pair_bounds`, a picture a prompt."""
    return {
        row: world.scores([pair_bounds.drawn_for(PAIR, request, row) for request in ASKED])
        for row in pair_bounds.ROWS
    }


Scored = dict[str, dict[str, float | None]]


def of(scored: Scored, row: str, score: str) -> float:
    value = scored[row][score]
    assert value is not None
    return value


def test_the_worlds_own_pictures_are_the_upper_bound(scored: Scored) -> None:
    for score in ("both_there", "in_place", "background_accuracy"):
        assert of(scored, "both", score) >= 0.9, score
    for score in ("first_identity", "second_identity", "both_right"):
        assert of(scored, "both", score) >= 0.7, score
    assert of(scored, "both", "bleeding") <= 0.1


def test_each_fault_is_seen_where_it_is(scored: Scored) -> None:
    others, looks, place, one = pair_bounds.ROWS[1:]
    assert of(scored, others, "both_there") >= 0.8
    assert of(scored, others, "both_right") <= 0.3
    assert of(scored, looks, "bleeding") >= 0.9
    assert of(scored, looks, "both_right") <= 0.1
    assert of(scored, place, "both_there") >= 0.8
    assert of(scored, place, "in_place") <= 0.1
    assert of(scored, place, "both_right") <= 0.1
    assert of(scored, place, "first_identity") >= 0.7
    assert of(scored, one, "both_there") <= 0.2
    assert of(scored, one, "both_right") <= 0.1


def test_where_nothing_is_found_nothing_is_right(world: World) -> None:
    grey = [torch.full((3, 64, 64), 127, dtype=torch.uint8) for _ in ASKED]
    blind = Observer(world.observer.clip, world.observer.dino)
    judged = PairJudge(world.lineups, pair_bounds.TOKENS).judged(
        Observed(torch.stack(grey), blind, ASKED)
    )
    assert judged == {name: [None] * len(ASKED) for name in PAIR_SCORES}


HIT, OTHER = Half(0, hit=True, bled=False), Half(1, hit=True, bled=False)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (HIT, OTHER, (1, 1, 1, 1, 1, 0)),
        (OTHER, HIT, (1, 0, 1, 1, 0, 0)),
        (HIT, Half(1, hit=False, bled=True), (1, 1, 1, 0, 0, 0.5)),
        (HIT, HIT, (0, None, 1, 0, 0, 0)),
        (HIT, None, (0, None, 1, 0, 0, 0)),
        (None, OTHER, (0, None, 0, 1, 0, 0)),
        (None, None, (0, None, 0, 0, 0, None)),
    ],
)
def test_what_stands_in_the_halves_decides(
    world: World, left: Half | None, right: Half | None, expected: tuple[float | None, ...]
) -> None:
    request = DrawingRequest("a sks robot and a zwx cat", "a robot and a cat", 0, 0, 0)
    judged = PairJudge(world.lineups, ("sks", "zwx"))._of_one(request, left, right)
    assert tuple(judged[name] for name in PAIR_SCORES) == expected
    turned = DrawingRequest("a zwx cat and a sks robot", "a cat and a robot", 0, 0, 0)
    place = PairJudge(world.lineups, ("sks", "zwx"))._of_one(turned, left, right)["in_place"]
    assert place == (None if expected[1] is None else 1 - expected[1])


def test_two_of_one_class_are_told_apart_by_themselves(world: World) -> None:
    first = DEMO_SUBJECTS["robot"]
    second = type(first)("robot", first.identity_seed + 1, first.scenes)
    observer = world.observer
    lineups = PairLineups((first, second), observer.dino, observer.clip, individuals=3)
    own = torch.stack([lineups.individuals[0][0, 0], lineups.individuals[1][0, 0]])
    read = lineups.read(own, lineups.classes)
    assert [half.whose for half in read] == [0, 1]
    assert [half.hit for half in read] == [True, True]
    assert [half.bled for half in read] == [False, False]
