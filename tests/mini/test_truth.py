"""Sanity of the scale, on pictures that the mini world draws and whose truth is known."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from idgen.errors import UserError
from idgen.evaluation.observed import Observed, Observer
from idgen.evaluation.score import Score
from idgen.evaluation.scores import fidelity_scores, overfitting_scores
from idgen.metrics.encoders import ClipScorer, DinoScorer
from idgen.metrics.identity import identity_hits
from idgen.mini.lineup import lineup_seeds
from idgen.mini.regimes import Regime
from idgen.mini.scenes import SCENES
from idgen.mini.subjects import DEMO_SUBJECTS, sample_subject
from idgen.mini.truth import MiniTruth, Yardsticks
from idgen.mini.truth.parts import PartJudge
from idgen.mini.wishes import Looks
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


def test_photos_backgrounds_and_poses_are_recognised(of: dict[str, dict[str, float]]) -> None:
    for name in ("background_identity", "pose_copying"):
        assert of["copies"][name] == 1
    for other in ("true", "others"):
        assert of[other]["background_identity"] == 0
        assert of[other]["pose_copying"] <= 0.3


def test_right_pictures_are_nearest_to_the_worlds_own(of: dict[str, dict[str, float]]) -> None:
    for name in ("kid_dino", "kid_clip", "kid_background"):
        assert abs(of["true"][name]) < 0.1, name
        # DINO of the mini world hardly sees the scene.
        margin = 0.02 if name == "kid_dino" else 0.1
        assert of["copies"][name] > of["true"][name] + margin, name
    assert of["others"]["kid_dino"] > 1
    assert abs(of["others"]["kid_background"]) < 0.1


def test_pictures_are_all_right_if_scene_and_identity_are(of: dict[str, dict[str, float]]) -> None:
    assert of["true"]["all_right"] >= 0.8
    # Others show the scene, photos the subject.
    assert of["others"]["all_right"] <= 0.2
    assert of["copies"]["all_right"] == 0


def test_a_photos_very_background_is_known_behind_another_pose(world: World) -> None:
    photos = SUBJECT.photos()
    prompts = ["a robot in the snow", "a robot in the snow", "a robot on the beach", "a red robot"]
    pictures = drawn([SUBJECT.identity_seed] * 4, ["snow"] * 4, "behind")
    behind = [
        replace(pictures[n].factors, scene=p.factors.scene, seed=p.factors.seed)
        for n, p in enumerate(photos[:4])
    ]
    shown = [draw(factors) for factors in behind]
    (score,) = [s for s in world.started(*world.truth.scores()) if s.name == "background_identity"]
    asked = [request(prompt) for prompt in prompts]
    # The third asks for a scene that a photo shows, so that nothing is copied where it is there.
    assert score.add(world.observed(shown, asked)) == [1, 1, None, 1]
    assert score.add(world.observed(pictures, asked)) == [0, 0, None, 0]


def test_the_parts_of_what_was_asked_for_are_told(world: World) -> None:
    prompts = ["a pink robot in the snow", "a white and red robot in the snow", "a robot at night"]
    looks = [("pink",), ("white", "red"), ()]
    scenes = ["snow", "snow", "night"]
    pictures = [
        draw(replace(d.factors, also=also))
        for d, also in zip(drawn([SUBJECT.identity_seed] * 3, scenes, "parts"), looks, strict=True)
    ]
    requests = [request(prompt) for prompt in prompts]
    right = parts_of(world, pictures, requests)
    assert right["colour_accuracy"] == [1, 1, None]
    assert right["accessory_accuracy"] == [None] * 3
    assert [value is None for value in right["altered_identity"]] == [False, False, True]
    unchanged = drawn([SUBJECT.identity_seed] * 3, scenes, "parts")
    wrong = parts_of(world, unchanged, requests)
    assert wrong["colour_accuracy"] == [0, 0, None]
    assert wrong["all_right"][:2] == [0, 0]
    assert wrong["all_right"][2] == right["all_right"][2] == 1


def parts_of(
    world: World, pictures: Sequence[Drawing], requests: Sequence[DrawingRequest]
) -> dict[str, list[float | None]]:
    drawings = world.observed(pictures, requests)
    return {score.name: score.add(drawings) for score in world.started(*world.truth.scores())}


def test_what_a_creature_wears_is_told(world: World) -> None:
    cat = DEMO_SUBJECTS["cat"]
    worn = ["red hat", "black top hat", "blue scarf", "rainbow scarf"] * 4
    drawings, requests = [], []
    for n, accessory in enumerate(worn):
        rng = random.Random(f"worn/{n}")
        number = rng.randrange(2**31)
        drawings.append(
            draw(Factors("cat", cat.identity_seed, "snow", sample_pose(rng), accessory, number))
        )
        requests.append(request(f"a cat wearing a {accessory} in the snow"))
    judge = PartJudge(Yardsticks(cat))
    right = judge.judged(world.observed(drawings, requests))["accessory_accuracy"]
    assert sum(value or 0.0 for value in right) >= 14
    others = judge.judged(world.observed(drawings, requests[1:] + requests[:1]))
    assert sum(value or 0.0 for value in others["accessory_accuracy"]) <= 2


def test_what_the_world_cannot_draw_has_no_truth(world: World) -> None:
    pictures = drawn([SUBJECT.identity_seed] * 2, ["snow"] * 2, "worn")
    requests = [request("a robot wearing a red hat", n) for n in range(2)]
    drawings = world.observed(pictures, requests)
    for score in world.started(*world.truth.scores()):
        assert score.name in ("background_identity", "accessory_accuracy") or (
            score.add(drawings) == [None, None] and score.result() is None
        )


def test_what_is_embedded_is_kept_and_what_is_damaged_is_made_again(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDGEN_CACHE", str(tmp_path))
    looks, dino = Looks("red"), world.observer.dino
    made = Yardsticks(SUBJECT).altered(looks, dino)
    assert made is not None
    (kept,) = (tmp_path / "mini").iterdir()
    monkeypatch.setattr(dino, "embed_images", None)
    assert str(Yardsticks(SUBJECT).altered(looks, dino)) == str(made)
    monkeypatch.undo()
    monkeypatch.setenv("IDGEN_CACHE", str(tmp_path))
    kept.write_bytes(kept.read_bytes()[:100])
    again = Yardsticks(SUBJECT).altered(looks, dino)
    assert again is not None
    torch.testing.assert_close(again, made)
    monkeypatch.setenv("IDGEN_CACHE", "/proc/none")
    assert Yardsticks(SUBJECT).altered(looks, dino) is not None


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


def test_in_a_regime_photos_are_taken_apart_by_the_truth(world: World) -> None:
    subject = sample_subject(7, regime=Regime.parse("scenes=2&masks=wide"))
    truth, photos = MiniTruth(subject), subject.photos()
    pictures = [torch.tensor(p.picture).permute(2, 0, 1) for p in reversed(photos)]
    parts = truth.parts(pictures)
    assert parts is not None
    for mask, ground, photo in zip(*parts, reversed(photos), strict=True):
        assert np.array_equal(mask, photo.mask)
        assert np.array_equal(ground, photo.background)
    with pytest.raises(UserError, match=r"none of those that mini_subject\.json .* tells of"):
        truth.parts([torch.zeros(3, 64, 64, dtype=torch.uint8)])
    # Plain photos are taken apart as any others.
    assert world.truth.parts(pictures) is None
