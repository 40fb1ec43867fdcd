"""Each mini model loads by its library's own loader and does its job on held-out pictures."""

import numpy as np
import open_clip
import pytest
import torch
from segment_anything import SamPredictor
from torch import Tensor
from torch.nn.functional import normalize

from idgen.metrics.encoders import DinoScorer
from idgen.mini.assets import mini_path
from idgen.mini.classes import CLASSES
from idgen.mini.pen import Pose
from idgen.mini.sam import load_mini_sam
from idgen.mini.scenes import SCENES
from idgen.mini.world import HELD_OUT_FROM, Drawing, Factors, draw, sample_factors

PICTURES = 60


@pytest.fixture(scope="module")
def drawings() -> list[Drawing]:
    return [draw(sample_factors(7_000 + k, held_out_identity=True)) for k in range(PICTURES)]


def pixels_of(drawings: list[Drawing]) -> Tensor:
    pictures = np.stack([drawing.picture for drawing in drawings])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2)


@pytest.mark.parametrize("part", ["encoder", "clip"])
def test_open_clip_names_class_and_scene(part: str, drawings: list[Drawing]) -> None:
    name = f"local-dir:{mini_path(part)}"
    model, _, _ = open_clip.create_model_and_transforms(name)
    assert next(model.parameters()).dtype == torch.float32
    tokenizer = open_clip.get_tokenizer(name)
    model.eval()
    with torch.inference_mode():
        images = model.encode_image(pixels_of(drawings) / 127.5 - 1, normalize=True)
        classes = model.encode_text(tokenizer([f"a photo of a {n}" for n in CLASSES]))
        phrases = [f"a {n} {s.phrases[0]}" for s in SCENES.values() for n in CLASSES]
        scenes = model.encode_text(tokenizer(phrases), normalize=True)
    scenes = scenes.view(len(SCENES), len(CLASSES), -1).mean(dim=1)
    nouns = [list(CLASSES).index(drawing.factors.noun) for drawing in drawings]
    places = [list(SCENES).index(drawing.factors.scene) for drawing in drawings]
    found = (images @ normalize(classes, dim=-1).T).argmax(dim=1)
    assert float((found == torch.tensor(nouns)).double().mean()) > 0.6
    found = (images @ normalize(scenes, dim=-1).T).argmax(dim=1)
    assert float((found == torch.tensor(places)).double().mean()) > 0.9


def test_a_rare_token_changes_a_text_little() -> None:
    name = f"local-dir:{mini_path('encoder')}"
    model = open_clip.create_model(name).eval()
    tokenizer = open_clip.get_tokenizer(name)
    texts = ["a dog in the snow", "a sks dog in the snow", "a boat in the desert"]
    with torch.inference_mode():
        plain, rare, other = model.encode_text(tokenizer(texts), normalize=True)
    assert float(plain @ rare) > float(plain @ other) + 0.3


def test_dino_finds_the_same_identity_elsewhere() -> None:
    scenes = list(SCENES)
    noun = "robot"
    pictures = []
    for side in range(2):
        for k in range(20):
            pose = Pose(0.45 + 0.1 * side, 0.54, 0.6 + 0.1 * side, 8.0 - 16 * side, bool(side))
            scene = scenes[(k * 5 + side * 3) % len(scenes)]
            factors = Factors(noun, HELD_OUT_FROM + 500 + k, scene, pose, None, k + side)
            pictures.append(draw(factors))
    with DinoScorer("mini").loaded(torch.device("cpu")) as scorer:
        first, second = scorer.embed_images(pixels_of(pictures)).cpu().chunk(2)
    found = (first @ second.T).argmax(dim=1)
    assert float((found == torch.arange(20)).double().mean()) > 0.5


@pytest.mark.parametrize("prompt", ["point", "box"])
def test_sam_finds_the_subject(prompt: str, drawings: list[Drawing]) -> None:
    predictor = SamPredictor(load_mini_sam(mini_path("sam")))
    overlaps = []
    for drawing in drawings[:12]:
        predictor.set_image(drawing.picture)
        rows, columns = np.nonzero(drawing.mask)
        box = np.array([columns.min(), rows.min(), columns.max(), rows.max()])
        middle = len(rows) // 2
        point = np.array([[columns[middle], rows[middle]]])
        if prompt == "box":
            masks, quality, _ = predictor.predict(box=box, multimask_output=False)
        else:
            masks, quality, _ = predictor.predict(point, np.ones(1), multimask_output=False)
        both, either = (masks[0] & drawing.mask).sum(), (masks[0] | drawing.mask).sum()
        overlaps.append(both / either)
        assert quality.shape == (1,)
    filled = [drawing.mask.mean() for drawing in drawings[:12]]
    assert float(np.mean(overlaps)) > max(0.75, 2 * float(np.mean(filled)))
