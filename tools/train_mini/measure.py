"""Measures the mini encoders on what training never saw.

``python -m tools.train_mini.measure`` measures the shipped weights, or with ``--weights DIR``
those of a working folder, and prints one JSON line for each part. Pictures are of held-out
identities, and a fifth of them of held-out pairs of class and scene.
"""

import argparse
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from rich.progress import track
from torch import Tensor
from torch.nn.functional import normalize

from idgen.errors import UserError
from idgen.metrics.encoders import DinoScorer
from idgen.mini.assets import WEIGHTS
from idgen.mini.captions import article
from idgen.mini.classes import CLASSES
from idgen.mini.colours import COLOUR_WORDS
from idgen.mini.sam import load_mini_sam
from idgen.mini.scenes import SCENES
from idgen.mini.world import (
    HELD_OUT_FROM,
    Drawing,
    Factors,
    draw,
    is_held_out,
    sample_factors,
    sample_pose,
)
from tools.command import run

Measure = Callable[[Path, int], dict[str, float]]


def held_out_drawing(number: int) -> Drawing:
    """Draw held-out picture ``number``; every fifth is of a held-out pair of class and scene."""
    if number % 5:
        return draw(sample_factors(number, held_out_identity=True))
    rng = random.Random(f"measure/{number}")
    pairs = [(noun, scene) for noun in CLASSES for scene in SCENES if is_held_out(noun, scene)]
    noun, scene = rng.choice(pairs)
    identity = HELD_OUT_FROM + rng.randrange(HELD_OUT_FROM)
    return draw(Factors(noun, identity, scene, sample_pose(rng), None, rng.randrange(2**31)))


def measure_clip(folder: Path, count: int) -> dict[str, float]:
    """Zero-shot accuracy of class, scene and main colour by an open_clip folder.

    Each choice is by the nearest of one mean text embedding per class, scene, or colour (the
    last given the class).
    """
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")

    @torch.inference_mode()
    def centre(texts: list[str]) -> Tensor:
        return normalize(model.encode_text(tokenizer(texts), normalize=True).mean(dim=0), dim=0)

    classes = torch.stack([centre([f"a photo of {article(noun)}"]) for noun in CLASSES])
    scenes = torch.stack(
        [
            centre([f"{article(noun)} {words}" for noun in CLASSES for words in scene.phrases])
            for scene in SCENES.values()
        ]
    )
    colours = {
        noun: torch.stack([centre([f"{article(word)} {noun}"]) for word in COLOUR_WORDS])
        for noun in CLASSES
    }
    right = np.zeros((count, 3))
    for number in track(range(count), f"{folder.name}: pictures"):
        drawing = held_out_drawing(number)
        pixels = preprocess(Image.fromarray(drawing.picture))[None]
        with torch.inference_mode():
            image = model.encode_image(pixels, normalize=True)[0]
        noun, scene = drawing.factors.noun, drawing.factors.scene
        word = drawing.factors.identity.colour_words[0]
        right[number] = (
            int((classes @ image).argmax()) == list(CLASSES).index(noun),
            int((scenes @ image).argmax()) == list(SCENES).index(scene),
            int((colours[noun] @ image).argmax()) == COLOUR_WORDS.index(word),
        )
    accuracies = right.mean(axis=0).round(4).tolist()
    return dict(zip(("class", "scene", "main_colour"), accuracies, strict=True))


def identity_drawings(identities: int, views: int) -> list[list[Drawing]]:
    """Draw held-out identities, each in several different scenes and poses."""
    drawn = []
    for number in range(identities):
        rng = random.Random(f"measure/identity/{number}")
        noun = rng.choice(list(CLASSES))
        seed = HELD_OUT_FROM + rng.randrange(HELD_OUT_FROM)
        scenes = rng.sample(list(SCENES), views)
        drawn.append(
            [
                draw(Factors(noun, seed, scene, sample_pose(rng), None, rng.randrange(2**31)))
                for scene in scenes
            ]
        )
    return drawn


def nearest_is_same(embeddings: Tensor) -> float:
    """How often the nearest neighbour of a picture is one of the same identity.

    Args:
        embeddings: ``N V E`` of unit length: N identities in V views each.
    """
    identities, views, width = embeddings.shape
    flat = embeddings.reshape(-1, width)
    similarity = flat @ flat.T
    similarity.fill_diagonal_(-torch.inf)
    owner = torch.arange(identities).repeat_interleave(views)
    return float((owner[similarity.argmax(dim=1)] == owner).double().mean())


def measure_dino(folder: Path, count: int) -> dict[str, float]:
    """Nearest neighbour of held-out identities, two pictures each, in other scenes and poses."""
    drawn = identity_drawings(count, 2)
    pictures = np.stack([drawing.picture for views in drawn for drawing in views])
    with DinoScorer(str(folder)).loaded(torch.device("cpu")) as scorer:
        embeddings = scorer.embed_images(torch.from_numpy(pictures).permute(0, 3, 1, 2)).cpu()
    embeddings = embeddings.view(count, 2, -1)
    same = (embeddings[:, 0] * embeddings[:, 1]).sum(dim=1)
    other = embeddings[:, 0] @ embeddings[:, 1].T
    unlike = (other.sum() - same.sum()) / (count * (count - 1))
    return {
        "nearest_same_identity": round(nearest_is_same(embeddings), 4),
        "similarity_same": round(float(same.mean()), 4),
        "similarity_other": round(float(unlike), 4),
    }


def measure_sam(folder: Path, count: int) -> dict[str, float]:
    """Mean IoU from one random point inside the subject, and from the box around it."""
    from segment_anything import SamPredictor

    predictor = SamPredictor(load_mini_sam(folder))
    results: dict[str, list[float]] = {
        "iou_point": [],
        "iou_point_best_predicted": [],
        "iou_box": [],
    }
    for number in track(range(count), f"{folder.name}: pictures"):
        drawing = held_out_drawing(number)
        predictor.set_image(drawing.picture)
        rows, columns = np.nonzero(drawing.mask)
        index = random.Random(f"measure/point/{number}").randrange(len(rows))
        point = np.array([[columns[index], rows[index]]])
        box = np.array([columns.min(), rows.min(), columns.max(), rows.max()])
        one = np.ones(1)
        masks, _, _ = predictor.predict(point, one, multimask_output=False)
        results["iou_point"].append(_iou(masks[0], drawing.mask))
        masks, quality, _ = predictor.predict(point, one, multimask_output=True)
        results["iou_point_best_predicted"].append(_iou(masks[quality.argmax()], drawing.mask))
        masks, _, _ = predictor.predict(box=box, multimask_output=False)
        results["iou_box"].append(_iou(masks[0], drawing.mask))
    return {name: round(float(np.mean(values)), 4) for name, values in results.items()}


def _iou(left: Any, right: Any) -> float:
    return float((left & right).sum() / max(1, (left | right).sum()))


MEASURES: dict[str, tuple[Measure, int]] = {
    "encoder": (measure_clip, 1000),
    "clip": (measure_clip, 1000),
    "dino": (measure_dino, 200),
    "sam": (measure_sam, 400),
}


def main() -> None:
    """Read the command line, measure and print."""
    parser = argparse.ArgumentParser(description="measure the mini encoders")
    parser.add_argument("parts", nargs="*", default=list(MEASURES), help="what to measure")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the parts")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    arguments = parser.parse_args()
    for part in arguments.parts:
        if part not in MEASURES:
            parser.error(f"no part {part}; there are: {', '.join(MEASURES)}")
        if not (arguments.weights / part).is_dir():
            raise UserError(f"--weights: there is no folder {arguments.weights / part}")
    torch.set_num_threads(arguments.threads)
    for part in arguments.parts:
        measure, count = MEASURES[part]
        result = measure(arguments.weights / part, count)
        print(json.dumps({"part": part, "count": count, **result}))


if __name__ == "__main__":
    run(main)
