"""What is known of a run that is exported: its scores, and drawings of it."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

SCORES = {
    "dino": "DINO",
    "clip_i": "CLIP-I",
    "clip_t": "CLIP-T",
    "leakage": "leakage",
    "copying": "copying",
    "diversity": "diversity",
}
"""The scores that a card shows, by their names in metrics.json."""


@dataclass(frozen=True)
class Sample:
    """A drawing.

    Attributes:
        prompt: As the drawing's model read it.
        image: `3 H W` uint8.
    """

    prompt: str
    image: Tensor


@dataclass(frozen=True)
class Evidence:
    """Scores of a run at the step that is exported, and how they came about.

    Attributes:
        scores: By name; only those that there are.
        protocol: In words.
        samples: A drawing of each prompt; none where only numbers were kept.
    """

    scores: dict[str, float]
    protocol: str
    samples: tuple[Sample, ...] = ()


def evidence_of(folder: Path, step: int, most: int) -> Evidence | None:
    """Of a run's folder: of its latest test at that step, else of its validation.

    Args:
        folder: That `idgen fit` wrote.
        step: Steps trained.
        most: Drawings that are wanted.

    Returns:
        None where the step was never scored.
    """
    tests = sorted(folder.glob("test*/metrics.json"), key=lambda path: path.stat().st_mtime)
    for path in reversed(tests):
        metrics = _read_json(path)
        if metrics.get("step") == step:
            return _of_test(metrics, path.parent, most)
    return _of_validation(folder / "validation" / "scores.csv", step)


def _of_test(metrics: dict[str, Any], folder: Path, most: int) -> Evidence:
    protocol, sampler = metrics.get("protocol") or {}, metrics.get("sampler") or {}
    said = (
        f"{metrics.get('images')} drawings of {metrics.get('prompts')} prompts (idgen test), seed "
        f"{metrics.get('drawing_seed')}, {sampler.get('steps')} steps, guidance "
        f"{sampler.get('guidance')}; DINO by {_model(protocol.get('dino'))}, CLIP-I and CLIP-T by "
        f"{_model(protocol.get('clip'))}; raw cosines, every drawing against every photo"
    )
    return Evidence(_known(metrics), said, _samples(folder, most))


def _of_validation(path: Path, step: int) -> Evidence | None:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row.get("step") == str(step)]
    except OSError:
        return None
    if not rows:
        return None
    said = "the run's validation prompts; raw cosines, every drawing against every photo"
    return Evidence(_known(rows[-1]), said)


def _known(values: dict[str, Any]) -> dict[str, float]:
    found = {name: values.get(name) for name in SCORES}
    return {name: float(value) for name, value in found.items() if value not in (None, "")}


def _model(name: Any) -> str:
    """A scorer's name; of a folder on this machine its last part alone."""
    return Path(str(name)).name if str(name).startswith(("/", "local-dir:")) else str(name)


def _samples(folder: Path, most: int) -> tuple[Sample, ...]:
    """The first drawing of each prompt of a test."""
    try:
        with (folder / "images.csv").open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row.get("number") == "0"]
        return tuple(Sample(row["prompt"], _read(folder / row["file"])) for row in rows[:most])
    except (OSError, KeyError):
        return ()


def _read(path: Path) -> Tensor:
    with Image.open(path) as picture:
        return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
