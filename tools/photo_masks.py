"""Measures segmenters on real photos, whose masks nobody drew: against a network's, and by eye.

The photos are sets like DreamBench's, a folder a subject. What is right "by eye" a person notes in
a table of lines `subject/photo,segmenter,right`, `right` being 1 or 0.
"""

import csv
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from idgen.fingerprint import fingerprint_fields
from idgen.masks import Mask, overlap, tidy
from idgen.prepare import (
    AutoSegmenter,
    GrabCutSegmenter,
    Photo,
    SaliencySegmenter,
    Segmenter,
    find_photos,
)
from idgen.prepare.segmenters.finding import Finding
from idgen.prepare.sheet.review import look_of, mask_warnings, set_warnings

_RIGHT = 0.7
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Measured:
    """One segmenter's mask of one photo.

    Attributes:
        name: `subject/photo`.
        mask: `H W`.
        doubts: What the sheet says against it.
        seconds: Of processor time.
    """

    name: str
    mask: Mask
    doubts: list[str]
    seconds: float


def photo_segmenters(network: Path) -> dict[str, Segmenter]:
    """The segmenters that are compared; further ones where their weights are at hand."""
    saliency = SaliencySegmenter(str(network))
    found: dict[str, Segmenter] = {"GrabCut": GrabCutSegmenter(), "saliency": saliency}
    auto = AutoSegmenter(saliency)
    if len(auto.parts) > 1:
        found["all at hand"] = auto
    return found


def measure(segmenter: Segmenter, folder: Path, work: Path) -> list[Measured]:
    """Masks of a set of photos; kept in `work`, and taken from there the next time."""
    photos = find_photos(folder)
    kept = {photo.digest: _kept(segmenter, photo, work) for photo in photos}
    if any(found is None for found in kept.values()):
        with segmenter.finding(_CPU, photos) as find:
            for photo in photos:
                if kept[photo.digest] is None:
                    start = time.process_time()
                    found = find(photo)
                    seconds = time.process_time() - start
                    keep(segmenter, photo, work, found, seconds)
                    kept[photo.digest] = (found.mask, list(found.doubts), seconds)
    rows = [(photo, *held) for photo in photos if (held := kept[photo.digest]) is not None]
    beside = _set_warnings(rows)
    return [
        Measured(
            f"{folder.name}/{photo.path.stem}",
            mask,
            [*doubts, *mask_warnings(mask), *warned],
            seconds,
        )
        for (photo, mask, doubts, seconds), warned in zip(rows, beside, strict=True)
    ]


def _set_warnings(rows: list[tuple[Photo, Mask, list[str], float]]) -> list[list[str]]:
    """What the sheet says of a photo beside the others, but for embeddings, which need E_I."""
    looks = [look_of(photo.pixels(), mask) for photo, mask, _, _ in rows]
    names = [photo.name for photo, *_ in rows]
    warned = set_warnings(names, looks, torch.ones(len(rows), 1))
    return [[text for text in texts if "nearly the same" not in text] for texts in warned]


def _place(segmenter: Segmenter, photo: Photo, work: Path) -> Path:
    return work / fingerprint_fields(photo=photo.digest, segmenter=segmenter.key(photo))[:20]


def keep(segmenter: Segmenter, photo: Photo, work: Path, found: Finding, seconds: float) -> None:
    """Keeps a mask, its doubts and its seconds for the next time."""
    work.mkdir(parents=True, exist_ok=True)
    place = _place(segmenter, photo, work)
    Image.fromarray(found.mask).save(place.with_suffix(".png"))
    said = {"doubts": list(found.doubts), "seconds": seconds}
    place.with_suffix(".json").write_text(json.dumps(said), encoding="utf-8")


def _kept(segmenter: Segmenter, photo: Photo, work: Path) -> tuple[Mask, list[str], float] | None:
    place = _place(segmenter, photo, work)
    if not place.with_suffix(".json").is_file():
        return None
    said = json.loads(place.with_suffix(".json").read_text(encoding="utf-8"))
    with Image.open(place.with_suffix(".png")) as image:
        mask = np.array(image, dtype=np.bool_)
    return mask, said["doubts"], said["seconds"]


def read_by_eye(path: Path) -> dict[tuple[str, str], bool]:
    """By photo and segmenter, whether a person finds the mask right."""
    with path.open(encoding="utf-8", newline="") as file:
        return {
            (row[0], row[1]): row[2] == "1" for row in csv.reader(file) if row[1:2] != ["segmenter"]
        }


def photo_table(
    photos: Path, network: Path, work: Path, by_eye: dict[tuple[str, str], bool]
) -> Iterator[Table]:
    """The tables: how many masks are right, and how many of the wrong ones the sheet finds."""
    folders = [path for path in sorted(photos.iterdir()) if path.is_dir()]
    measured = {
        name: [row for folder in folders for row in measure(segmenter, folder, work)]
        for name, segmenter in photo_segmenters(network).items()
    }
    reference = {row.name: row.mask for row in measured["saliency"]}
    table = Table("segmenter", "photos", f"IoU {_RIGHT} or more", "right by eye", "CPU s a photo")
    flags = Table("segmenter", "wrong", "flagged", "recall", "precision")
    for name, rows in measured.items():
        near = [overlap(tidy(row.mask), reference[row.name]) >= _RIGHT for row in rows]
        judged = [by_eye[row.name, name] for row in rows if (row.name, name) in by_eye]
        table.add_row(
            name,
            str(len(rows)),
            "is the reference" if name == "saliency" else f"{sum(near)}",
            f"{sum(judged)} of {len(judged)}",
            f"{np.mean([row.seconds for row in rows]):.1f}",
        )
        wrong = {row.name for row in rows if not by_eye.get((row.name, name), True)}
        flagged = {row.name for row in rows if row.doubts}
        hits = len(wrong & flagged)
        flags.add_row(
            name,
            str(len(wrong)),
            str(len(flagged)),
            f"{hits / max(1, len(wrong)):.2f}",
            f"{hits / max(1, len(flagged)):.2f}",
        )
    yield table
    yield flags


def print_photo_tables(photos: Path, network: Path, work: Path, by_eye: Path | None) -> None:
    """Measures and prints."""
    for table in photo_table(photos, network, work, read_by_eye(by_eye) if by_eye else {}):
        Console().print(table)
