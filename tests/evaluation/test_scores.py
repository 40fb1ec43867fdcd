"""The scores of runs, against open_clip and transformers used directly."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import ViTModel

from idgen.errors import UserError
from idgen.evaluation.fidelity import FidelityScores
from idgen.evaluation.observed import Observed, Observer
from idgen.evaluation.score import DrawingScore, Score, Values
from idgen.evaluation.scores import fidelity_scores, overfitting_scores
from idgen.masks import Mask
from idgen.metrics.encoders import ClipScorer, DinoScorer
from idgen.metrics.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from idgen.prepare import OpenCVInpainter
from idgen.sampling import DrawingRequest
from tests.metrics.processes import in_processes
from tests.metrics.tiny_models import save_clip, save_dino

CPU = torch.device("cpu")
PROMPTS = ["a dog on the beach", "a teapot on the moon", "a dog"]
SIDE, SUBJECT = 32, 27
"""The encoders' own sizes, so that no resize comes between ours and the references."""


def picture(seed: int, subject: bool = True) -> NDArray[np.uint8]:
    """A reddish square on greenish noise."""
    random = np.random.default_rng(seed)
    image = random.integers(0, 120, (SIDE, SIDE, 3), dtype=np.uint8)
    if subject:
        top, left = 2 + seed % 2, 3 - seed % 2
        inside = random.integers(0, 60, (SUBJECT, SUBJECT, 3), dtype=np.uint8)
        inside[..., 0] += np.uint8(190)
        image[top : top + SUBJECT, left : left + SUBJECT] = inside
    return image


def red(image: NDArray[np.uint8]) -> Mask:
    return np.asarray(image[..., 0] > 150, dtype=np.bool_)


def tensors(pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


PHOTOS = [picture(seed) for seed in range(3)]
DRAWN = [picture(seed, subject=seed != 14) for seed in range(10, 19)]
REQUESTS = [
    DrawingRequest(f"sks {PROMPTS[n % 3]}", PROMPTS[n % 3], n % 3, n // 3, 0)
    for n in range(len(DRAWN))
]


class World:
    """Loaded models, and the same ones without idgen."""

    def __init__(self, folder: Path) -> None:
        clip, dino = save_clip(folder / "clip"), save_dino(folder / "dino")
        name = f"local-dir:{clip}"
        self.clip = ClipScorer(name).load(CPU)
        self.dino = DinoScorer(str(dino)).load(CPU)
        self.inpaint = OpenCVInpainter()._inpaint
        self.open_clip, _, self.transform = open_clip.create_model_and_transforms(name)
        self.tokenizer = open_clip.get_tokenizer(name)
        vit: Any = ViTModel.from_pretrained(dino, add_pooling_layer=False)
        self.vit = vit.eval()

    def scores(self, masks: bool = True, prompts: int = 3) -> list[Score]:
        observer = Observer(self.clip, self.dino)
        known: list[Any] = [red(p) if masks else None for p in PHOTOS]
        grounds: list[Any] = [self.inpaint(p, red(p)) if masks else None for p in PHOTOS]
        photos = Observed(tensors(PHOTOS), observer, (), known, grounds)
        scores = [*fidelity_scores(), *overfitting_scores()]
        return [score.start(photos, prompts, CPU) for score in scores]

    def drawings(self, rows: Sequence[int]) -> Observed:
        observer = Observer(self.clip, self.dino, red, self.inpaint)
        pictures = tensors(DRAWN)[list(rows)]
        return Observed(pictures, observer, [REQUESTS[row] for row in rows])

    def by_clip(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        with torch.no_grad():
            found = self.open_clip.eval().encode_image(self.transform(Image.fromarray(image))[None])
        return np.asarray(found[0].double().numpy())

    def by_text(self, text: str) -> NDArray[np.float64]:
        with torch.no_grad():
            found = self.open_clip.eval().encode_text(self.tokenizer([text]))
        return np.asarray(found[0].double().numpy())

    def by_dino(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        pixels = (image[2:30, 2:30] / 255 - IMAGENET_MEAN) / IMAGENET_STD
        shown = torch.from_numpy(pixels).permute(2, 0, 1).float()
        with torch.no_grad():
            hidden = self.vit(pixel_values=shown[None]).last_hidden_state
        return np.asarray(hidden[0, 0].double().numpy())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def alone(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The subject in the middle of a grey square: 27 pixels and a margin make 32."""
    rows, columns = np.nonzero(red(image))
    square = np.full((SIDE, SIDE, 3), 127, np.uint8)
    square[2:29, 2:29] = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    return square


def references(world: World, image: NDArray[np.uint8], prompt: str) -> dict[str, float | None]:
    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    by_dino, by_clip = world.by_dino, world.by_clip
    whole = [cosine(by_dino(image), by_dino(photo)) for photo in PHOTOS]
    found: dict[str, float | None] = {
        "dino": mean(whole),
        "clip_i": mean([cosine(by_clip(image), by_clip(photo)) for photo in PHOTOS]),
        "clip_t": cosine(by_clip(image), world.by_text(prompt)),
        "copying": max(whole),
        **dict.fromkeys(("leakage", "masked_dino", "masked_clip_i")),
    }
    if red(image).any():
        ground = by_clip(world.inpaint(image, red(image)))
        of_photos = [by_clip(world.inpaint(photo, red(photo))) for photo in PHOTOS]
        found["leakage"] = max(cosine(ground, photo) for photo in of_photos)
        for name, embed in (("masked_dino", by_dino), ("masked_clip_i", by_clip)):
            subject = embed(alone(image))
            found[name] = mean([cosine(subject, embed(alone(photo))) for photo in PHOTOS])
    return found


def test_each_drawing_scores_what_the_libraries_say(world: World) -> None:
    columns = {score.name: score.add(world.drawings(range(9))) for score in world.scores()}
    for row, (image, request) in enumerate(zip(DRAWN, REQUESTS, strict=True)):
        expected = references(world, image, request.plain_prompt)
        for name, value in expected.items():
            assert columns[name][row] == pytest.approx(value, abs=1e-5), (name, row)
    assert columns["leakage"][4] is None
    assert columns["dino"][4] is not None


def test_a_score_is_the_mean_of_the_drawings_that_have_it(world: World) -> None:
    for score in world.scores():
        each = score.completed(REQUESTS, score.add(world.drawings(range(9))))
        there = [value for value in each if value is not None]
        assert len(there) == (8 if score.name in ("leakage", "masked_dino", "masked_clip_i") else 9)
        assert score.result() == pytest.approx(sum(there) / len(there), abs=1e-9)


def test_diversity_is_the_mean_distance_within_a_prompt(world: World) -> None:
    score = next(score for score in world.scores() if score.name == "diversity")
    each = score.completed(REQUESTS, score.add(world.drawings(range(9))))
    for prompt in range(3):
        seen = [world.by_dino(image) for image in DRAWN[prompt::3]]
        distances = [1 - cosine(a, b) for a, b in itertools.combinations(seen, 2)]
        assert each[prompt] == pytest.approx(sum(distances) / 3, abs=1e-5)


def results(world: World, batches: Sequence[Sequence[int]]) -> Tensor:
    scores = world.scores()
    for batch in batches:
        drawings = world.drawings(batch)
        for score in scores:
            score.add(drawings)
    found = [score.result() for score in scores]
    return torch.tensor([np.nan if value is None else value for value in found]).double()


def test_order_and_batches_do_not_matter(world: World) -> None:
    whole = results(world, [range(9)])
    assert not whole.isnan().any()
    for batches in ([[8, 3, 1], [0, 7], [2, 6, 5, 4]], [[row] for row in reversed(range(9))]):
        torch.testing.assert_close(results(world, batches), whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_agree_with_one(processes: int, world: World, tmp_path: Path) -> None:
    whole = results(world, [range(9)])

    def shard(rank: int, count: int) -> Tensor:
        return results(world, [range(9)[rank::count], []])

    for found in in_processes(processes, tmp_path, shard):
        torch.testing.assert_close(found, whole, atol=1e-6, rtol=0)


def test_without_masks_of_the_photos_masked_scores_are_empty_and_not_zero(world: World) -> None:
    undefined = {"leakage", "masked_dino", "masked_clip_i"}
    for score in world.scores(masks=False):
        each = score.add(world.drawings(range(9)))
        if score.name in undefined:
            assert each == [None] * 9
        assert (score.result() is None) == (score.name in undefined)


def test_with_one_drawing_a_prompt_there_is_no_diversity(world: World) -> None:
    score = next(score for score in world.scores() if score.name == "diversity")
    assert score.completed(REQUESTS[:3], score.add(world.drawings(range(3)))) == [None] * 3
    assert score.result() is None


def test_a_model_that_returns_a_photo_copies_and_leaks_most(world: World) -> None:
    observer = Observer(world.clip, world.dino, red, world.inpaint)
    copies = Observed(tensors([PHOTOS[1]] * 9), observer, REQUESTS)
    means = {}
    for name, drawings in (("drawn", world.drawings(range(9))), ("copied", copies)):
        scores = world.scores()
        for score in scores:
            score.add(drawings)
        means[name] = {score.name: score.result() or 0.0 for score in scores}
    assert means["copied"]["copying"] == pytest.approx(1)
    assert means["copied"]["diversity"] == pytest.approx(0, abs=1e-6)
    assert means["drawn"]["copying"] < 1
    assert means["copied"]["leakage"] == pytest.approx(1)
    assert means["drawn"]["leakage"] < 1


def test_what_several_scores_look_at_is_embedded_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"clip": 0, "dino": 0}
    scores = world.scores()
    scores[0].add(world.drawings([0]))
    for score in scores:
        score.add(world.drawings([0]))  # the photos are embedded by now
    for name in counts:
        scorer = getattr(world, name)
        embed = scorer.embed_images

        def counted(images: Any, name: str = name, embed: Any = embed) -> Tensor:
            counts[name] += len(images)
            found: Tensor = embed(images)
            return found

        monkeypatch.setattr(scorer, "embed_images", counted)
    drawings = world.drawings([0, 1, 2])
    for score in scores:
        score.add(drawings)
    # DINO: the whole and the subject. CLIP: those, and the background.
    assert counts == {"dino": 6, "clip": 9}


class Redness(DrawingScore):
    """Undefined for the first drawing, not a number for the second."""

    name = "redness"

    def each(self, drawings: Observed) -> Values:
        return [None, float("nan"), *[1.0] * (len(drawings) - 2)]


def test_undefined_is_neither_nan_nor_zero(world: World) -> None:
    score = Redness().start(world.drawings([]), 3, CPU)
    values = score.add(world.drawings(range(4)))
    assert str(values) == "[None, nan, 1.0, 1.0]"
    assert str(score.result()) == "nan"
    # Started anew, it knows nothing of what was before.
    assert score.start(world.drawings([]), 3, CPU).result() is None
    assert score.identity == "tests.evaluation.test_scores.Redness"


def test_a_name_that_is_taken_is_refused() -> None:
    # Of metrics.json, and of images.csv, where benchmarks look up drawings by `file`.
    for name in ("dino", "balance", "images", "protocol", "file", "seed"):
        score = Redness()
        score.name = name
        with pytest.raises(UserError, match=rf"fidelity.scores: the name '{name}' is taken"):
            FidelityScores(scores=[score]).check()
    with pytest.raises(UserError, match="'redness' is taken"):
        FidelityScores(scores=[Redness(), Redness()]).check()


class Nameless(Redness):
    name = ""


class Unidentified(Redness):
    identity = 1.5  # type: ignore[assignment]


def test_a_score_without_a_name_or_an_identity_is_refused() -> None:
    with pytest.raises(UserError, match="identity of 'redness' has to be a text"):
        FidelityScores(scores=[Unidentified()]).check()
    with pytest.raises(UserError, match=r"fidelity.scores: Nameless has no name; set `name`"):
        FidelityScores(scores=[Nameless()]).check()
