"""Results of a benchmark made by hand: photos, drawings and scores as `idgen test` leaves them."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from idgen.benchmark.results import CellResult
from idgen.benchmark.subjects import BenchmarkSubject
from idgen.evaluation.protocol import Protocol

PROMPTS = ("a dog in the snow", "a dog on the beach", "a dog <b>& a cat</b>")
PROTOCOL = Protocol(
    dino="mini",
    dino_revision=None,
    dino_identity="1",
    dino_preprocessing={"resize": [256, 256]},
    clip="mini",
    clip_revision=None,
    clip_identity="2",
    clip_preprocessing={"resize": [224, 224]},
    pairing="every drawing against every photo",
    photo_segmenter=None,
    segmenter=None,
    inpainter=None,
    sampler={"name": "Sampler", "steps": 2},
    drawing_seed=0,
    prompts="3",
    images_per_prompt=1,
    idgen_version="0",
).to_json()


def make_subject(folder: Path, name: str) -> BenchmarkSubject:
    photos = folder / "photos" / name
    photos.mkdir(parents=True)
    for shade in (40, 160):
        Image.new("RGB", (40, 40), (shade, 90, 200)).save(photos / f"{shade}.png")
    return BenchmarkSubject(name, photos, "dog", live=True)


def metrics(**scores: float | None) -> dict[str, Any]:
    return {
        **scores,
        "images": 3,
        "prompts": 3,
        "step": 4,
        "drawing_seed": 0,
        "checkpoint": None,
        "subject": "photos",
        "class_noun": "dog",
        "method": "LoraTuning + TextOnly",
        "backbone": "tiny",
        "backbone_identity": "abc",
        "sampler": {"steps": 2},
        "protocol": dict(PROTOCOL),
        "idgen_version": "0",
    }


def make_result(
    folder: Path, method: str, subject: str, scores: dict[str, float | None], seed: int = 0
) -> CellResult:
    test = folder / "cells" / f"{method}-{subject}-{seed}".replace("/", "-") / "test"
    (test / "images").mkdir(parents=True)
    with (test / "images.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["prompt", "plain_prompt", "number", "seed", "file", "dino"])
        for index, prompt in enumerate(PROMPTS):
            name = f"images/{index}.png"
            Image.new("RGB", (16, 16), (30 * index, 200, 40)).save(test / name)
            writer.writerow([prompt, prompt, 0, seed, name, "0.5"])
    content = metrics(**scores)
    (test / "metrics.json").write_text(json.dumps(content))
    return CellResult(method, subject, seed, "done", content, "", 0, test)


def failed(folder: Path, method: str, subject: str, reason: str) -> CellResult:
    return CellResult(method, subject, 0, "failed", {}, reason, 2, folder / "none")


def missing(folder: Path, method: str, subject: str) -> CellResult:
    return CellResult(method, subject, 0, "missing", {}, "", 0, folder / "none")


def results_of(folder: Path, methods: Sequence[str], subjects: Sequence[str]) -> list[CellResult]:
    """Scores that rise with the method's place, and differ from subject to subject."""
    return [
        make_result(
            folder,
            method,
            subject,
            {
                "dino": 0.5 + 0.1 * place + 0.03 * number,
                "clip_t": 0.6 - 0.05 * place + 0.02 * number,
                "leakage": 0.3 - 0.02 * place,
                "masked_dino": None,
            },
        )
        for number, subject in enumerate(subjects)
        for place, method in enumerate(methods)
    ]
