"""Sanity of the scale, on pictures that the mini world draws and whose truth is known."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from idgen.evaluation.observed import Observed, Observer
from idgen.evaluation.score import Score
from idgen.evaluation.scores import fidelity_scores, overfitting_scores
from idgen.metrics.encoders import ClipScorer, DinoScorer
from idgen.metrics.identity import identity_hits
from idgen.mini.lineup import lineup_seeds
from idgen.mini.scenes import SCENES
from idgen.mini.subjects import DEMO_SUBJECTS
from idgen.mini.truth import MiniTruth
from idgen.mini.world import Drawing, Factors, draw, sample_pose
from idgen.prepare import OpenCVInpainter
from idgen.sampling import DrawingRequest

CPU = torch.device("cpu")
SUBJECT = DEMO_SUBJECTS["robot"]
UNSEEN = SUBJECT.unseen_scenes
IMAGES = 2


def request(prompt: str, index: int = 0, number: int = 0) -> DrawingRequest:
    return DrawingRequest(prompt, prompt, index, number, 0)


REQUESTS = [
    request(f"a robot {SCENES[scene].phrases[number]}", index, number)
    for index, scene in enumerate(UNSEEN)
    for number in range(IMAGES)
]


def drawn(identity_seeds: Sequence[int], scenes: Sequence[str], tag: str) -> list[Drawing]:
    pictures = []
    for place, (seed, scene) in enumerate(zip(identity_seeds, scenes, strict=True)):
        rng = random.Random(f"{tag}/{place}")
        factors = Factors(SUBJECT.noun, seed, scene, sample_pose(rng), None, rng.randrange(2**31))
        pictures.append(draw(factors))
    return pictures


class World:
    """The mini world's scorers, and the robot's photos and line-up."""

    def __init__(self) -> None:
        self.observer = Observer(
            ClipScorer().load(CPU), DinoScorer().load(CPU), None, OpenCVInpainter()._inpaint
        )
        self.truth = MiniTruth(SUBJECT)

    def observed(
        self, pictures: Sequence[Drawing], requests: Sequence[DrawingRequest] = ()
    ) -> Observed:
        """Pictures with their true masks."""
        images = torch.from_numpy(np.stack([p.picture for p in pictures])).permute(0, 3, 1, 2)
        return Observed(images, self.observer, requests, [p.mask for p in pictures])

    def started(self, *scores: Score) -> list[Score]:
        photos = self.observed(SUBJECT.photos())
        return [score.start(photos, len(UNSEEN), CPU) for score in scores]

    def scores(self) -> list[Score]:
        return self.started(*fidelity_scores(), *overfitting_scores(), *self.truth.scores())

    def results(self, pictures: Sequence[Drawing]) -> dict[str, float]:
        drawings, scores = self.observed(pictures, REQUESTS), self.scores()
        for score in scores:
            score.add(drawings)
        return {score.name: score.result() or 0.0 for score in scores}


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def of(world: World) -> dict[str, dict[str, float]]:
    """Scores of a perfect model, of one that draws others of the class, and of one that copies."""
    scenes = [scene for scene in UNSEEN for _ in range(IMAGES)]
    count = len(scenes)
    true = drawn([SUBJECT.identity_seed] * count, scenes, "true")
    others = drawn(lineup_seeds(SUBJECT)[1 : 1 + count], scenes, "others")
    copies = [SUBJECT.photos()[place % len(SUBJECT.scenes)] for place in range(count)]
    models = {"true": true, "others": others, "copies": copies}
    return {name: world.results(pictures) for name, pictures in models.items()}


def test_true_pictures_are_told_from_199_others(of: dict[str, dict[str, float]]) -> None:
    assert of["true"]["identity_accuracy"] >= 0.8
    assert of["others"]["identity_accuracy"] <= 0.15
    assert of["true"]["background_accuracy"] >= 0.9
    assert of["others"]["background_accuracy"] >= 0.9


def test_true_pictures_are_more_like_the_photos_than_other_robots(
    of: dict[str, dict[str, float]],
) -> None:
    for name in ("dino", "clip_i", "masked_dino", "masked_clip_i"):
        assert of["true"][name] > of["others"][name] + 0.05, name


def test_a_model_that_returns_its_photos_copies_and_leaks_most(
    of: dict[str, dict[str, float]],
) -> None:
    assert of["copies"]["copying"] == pytest.approx(1)
    assert of["copies"]["leakage"] == pytest.approx(1, abs=0.01)
    assert of["copies"]["background_accuracy"] == 0
    for other in ("true", "others"):
        assert of["copies"]["copying"] > of[other]["copying"]
        assert of["copies"]["leakage"] > of[other]["leakage"] + 0.05


def test_others_are_found_for_what_they_are(world: World) -> None:
    """A picture of the n-th in the line-up is told to be the n-th, not the first."""
    seeds = lineup_seeds(SUBJECT)[:24]
    pictures = drawn(seeds, ["snow"] * len(seeds), "each")
    subjects = world.observed(pictures).subject_dino.embeddings
    lineup = world.truth.yardsticks.identities(world.observer.dino)
    hits = [identity_hits(subjects[n : n + 1], lineup, n).item() for n in range(len(seeds))]
    assert sum(hits) / len(hits) >= 0.8


def test_what_a_prompt_does_not_ask_for_has_no_truth(world: World) -> None:
    prompts = [
        *("a robot in the snow", "a robot on the beach", "a red robot in the snow"),
        "a photo of a robot",
    ]
    pictures = drawn([SUBJECT.identity_seed] * 4, ["snow"] * 4, "asked")
    drawings = world.observed(pictures, [request(prompt) for prompt in prompts])
    identity, background, *_ = world.started(*world.truth.scores())
    # The photos show the beach; a red robot is another; the last names no scene.
    assert [value is None for value in background.add(drawings)] == [False, True, False, True]
    assert [value is None for value in identity.add(drawings)] == [False, False, True, False]


def test_drawing_the_scene_of_a_photo_that_was_asked_for_is_no_leakage(world: World) -> None:
    prompts = ["a robot on the beach", "a robot in the snow", "a red robot"]
    pictures = drawn([SUBJECT.identity_seed] * 3, ["beach", "snow", "beach"], "leaks")
    drawings = world.observed(pictures, [request(prompt) for prompt in prompts])
    known = world.truth.wants_a_photos_scene
    every, others = (
        next(s for s in world.started(*overfitting_scores(*asks)) if s.name == "leakage")
        for asks in ((), (known,))
    )
    beach, snow, red = (value or 0.0 for value in every.add(drawings))
    assert others.add(drawings) == [None, snow, red]
    assert others.result() == pytest.approx((snow + red) / 2)
    # As a photo's scene is drawn rightly its background is a photo's, nearly.
    assert min(beach, red) > snow + 0.02


def test_a_drawing_without_a_subject_has_no_identity(world: World) -> None:
    pictures = drawn([SUBJECT.identity_seed] * 2, ["snow"] * 2, "lost")
    drawings = world.observed(pictures, [request("a robot in the snow")] * 2)
    drawings.masks = [None, None]
    identity, background, *_ = world.started(*world.truth.scores())
    assert identity.add(drawings) == [None, None]
    assert identity.result() is None
    assert background.add(drawings) == [1.0, 1.0]
    nothing = world.observed(pictures, [request("a robot in the snow")] * 2)
    nothing.images, nothing.requests, nothing.masks = torch.empty(0, 3, 64, 64).byte(), [], []
    assert identity.add(nothing) == background.add(nothing) == []
