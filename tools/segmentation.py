"""Measures segmenters where the exact masks are known: on subjects of the mini world.

``python -m tools.segmentation`` draws held-out subjects, five photos each, gives each subject's
photos to every segmenter without any prompt, and prints a table of the IoU with the exact masks.

``python -m tools.segmentation --photos FOLDER --network FILE --by-eye TABLE`` does so on real
photos, against a network's masks and what a person noted (`tools.photo_masks`).
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from idgen.metrics.encoders import ClipScorer, DinoScorer
from idgen.mini.subjects import MiniSubject, sample_subject, write_subject
from idgen.prepare import GrabCutSegmenter, SamSegmenter, Segmenter, find_photos
from tools.photo_masks import print_photo_tables


def segmenters(noun: str) -> dict[str, Segmenter]:
    """The segmenters that are compared, for a subject of that class."""
    return {
        "SAM, each photo by itself": SamSegmenter(),
        "SAM, likeness": SamSegmenter(encoder=DinoScorer()),
        "SAM, noun": SamSegmenter(clip=ClipScorer(), class_noun=noun),
        "SAM, likeness and noun": SamSegmenter(
            encoder=DinoScorer(), clip=ClipScorer(), class_noun=noun
        ),
        "GrabCut": GrabCutSegmenter(),
    }


def overlaps(segmenter: Segmenter, subject: MiniSubject) -> list[float]:
    """IoU of each of a subject's photos with its exact mask."""
    with tempfile.TemporaryDirectory() as folder:
        paths = write_subject(subject, Path(folder))
        exact = {
            path.name: drawing.mask for path, drawing in zip(paths, subject.photos(), strict=True)
        }
        photos = find_photos(Path(folder))
        found = []
        with segmenter.loaded(torch.device("cpu"), photos) as segment:
            for photo in photos:
                mask, truth = segment(photo), exact[photo.name]
                found.append(float((mask & truth).sum() / (mask | truth).sum()))
    return found


def main() -> None:
    """Reads the command line, measures and prints."""
    parser = argparse.ArgumentParser(description="measure the segmenters on the mini world")
    known = list(segmenters("subject"))
    parser.add_argument(
        "--only", action="append", choices=known, help="a segmenter; several may be given"
    )
    parser.add_argument("--subjects", type=int, default=50, help="held-out subjects")
    parser.add_argument("--first", type=int, default=0, help="number of the first subject")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--photos", type=Path, help="real photos, a folder a subject")
    parser.add_argument("--network", type=Path, help="an .onnx file, the reference on photos")
    parser.add_argument("--by-eye", type=Path, help="which masks a person finds right")
    parser.add_argument("--work", type=Path, default=Path("masks"), help="keeps photos' masks")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.photos is not None:
        if arguments.network is None:
            parser.error("--photos needs --network")
        print_photo_tables(arguments.photos, arguments.network, arguments.work, arguments.by_eye)
        return
    names = arguments.only or known
    results: dict[str, list[float]] = {name: [] for name in names}
    numbers = range(arguments.first, arguments.first + arguments.subjects)
    for number in track(numbers, "subjects", console=Console(stderr=True)):
        subject = sample_subject(number)
        parts = segmenters(subject.noun)
        for name in names:
            results[name] += overlaps(parts[name], subject)
    table = Table("segmenter", "mean IoU", "median", "worst tenth", "under 0.5")
    for name, values in results.items():
        shares = np.array(values)
        tenth = np.quantile(shares, 0.1)
        table.add_row(
            name,
            f"{shares.mean():.3f}",
            f"{np.median(shares):.3f}",
            f"{tenth:.3f}",
            f"{int((shares < 0.5).sum())} of {len(shares)}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
