"""What the scores can be: of subjects that the world itself draws for a suite of prompts.

``python -m tools.score_bounds`` lets the mini world draw each demo subject, and other identities of
its class, as each prompt of the suite asks, and scores these pictures as `idgen test` scores
drawings, masks by the mini SAM. The first column is what a perfect model would reach, the second
what a perfect model reaches that does not know the subject: their difference is the part of a
change in CLIP-T that belongs to the subject's looks, not to what training spoilt. Then come faults
one at a time: specks; a scene like a photo's, and the very background of one, whatever the prompt
says; and a model that returns its photos, each compared with itself too. The last is the photos
against each other, as `idgen test` scores them. ``--held-out N`` takes the held-out subjects 0 to
N - 1 instead, which a benchmark calls ``mini:0`` and so on, ``--regime scenes=1`` in that regime.
It shows means, and for the kernel distances, whose mean is 0 for right pictures, their standard
deviation between subjects.
"""

import argparse
import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from idgen.data.prompts import read_suite, without_token
from idgen.evaluation.drawing import Means
from idgen.evaluation.observed import Observed, Observer
from idgen.evaluation.score import Score
from idgen.evaluation.scores import (
    TEST_SCORES,
    fidelity_scores,
    overfitting_scores,
    photo_scores,
)
from idgen.metrics.encoders import ClipScorer, DinoScorer
from idgen.mini.classes import subject_class
from idgen.mini.regimes import PLAIN_LABEL, Regime
from idgen.mini.subjects import DEMO_SUBJECTS, MiniSubject, sample_subject
from idgen.mini.truth import MiniTruth
from idgen.mini.wishes import asked_for
from idgen.mini.world import HELD_OUT_FROM, Drawing, Factors, draw, sample_pose
from idgen.prepare import OpenCVInpainter, SamSegmenter
from idgen.prepare.segmenters.segmenter import of_drawings
from idgen.sampling import DrawingRequest
from tools.command import run

CPU = torch.device("cpu")
SPECKS = 8
MODELS = (
    *("itself", "others of its class", "itself, with specks", "in a photo's kind of scene"),
    *("before a photo's background", "its photos"),
)
ROWS = (*MODELS, "its photos, each against the others")


def pixels(drawings: Sequence[Drawing]) -> Tensor:
    """Pictures as ``B 3 H W`` uint8."""
    return torch.from_numpy(np.stack([d.picture for d in drawings])).permute(0, 3, 1, 2)


def drawn_for(subject: MiniSubject, prompt: str, count: int, model: str) -> list[Drawing]:
    """What a model draws for a prompt: one of `MODELS`, in ``count`` poses.

    A prompt that names no scene is drawn in those that no photo shows.
    """
    wish, drawings = asked_for(prompt, subject.noun), []
    for number in range(count):
        rng = random.Random(f"bounds/{subject.noun}/{prompt}/{number}")
        if model == "its photos":
            drawings.append(rng.choice(subject.photos()))
            continue
        # The others are no candidates of the line-up, or they would be told from it too easily.
        other = model == "others of its class"
        identity = HELD_OUT_FROM + 1000 + number if other else subject.identity_seed
        scene, pose = wish.scene or rng.choice(subject.unseen_scenes), sample_pose(rng)
        seed, looks = rng.randrange(2**31), wish.looks.attributes
        copied = rng.choice(subject.photos()).factors
        if model in ("in a photo's kind of scene", "before a photo's background"):
            scene = copied.scene
            seed = copied.seed if model == "before a photo's background" else seed
        drawn = draw(Factors(subject.noun, identity, scene, pose, None, seed, looks))
        drawings.append(specked(drawn, rng) if model == "itself, with specks" else drawn)
    return drawings


def specked(drawing: Drawing, rng: random.Random) -> Drawing:
    """The same picture with specks of any colour, 2 or 3 pixels a side."""
    picture = drawing.picture.copy()
    for _ in range(SPECKS):
        side, top, left = rng.randint(2, 3), rng.randrange(61), rng.randrange(61)
        picture[top : top + side, left : left + side] = [rng.randrange(256) for _ in range(3)]
    return replace(drawing, picture=picture)


def observed_photos(subject: MiniSubject, observer: Observer) -> Observed:
    """Its photos, with masks and backgrounds as `idgen test` has them: in a regime the true ones.

    Those of others are what a drawing would be given.
    """
    photos = subject.photos()
    known = MiniTruth(subject).parts(list(pixels(photos)))
    if known is not None:
        return Observed(pixels(photos), observer, (), *known)
    masks = [observer.mask(photo.picture) for photo in photos]
    grounds = [
        None if mask is None else observer.background(photo.picture, mask)
        for photo, mask in zip(photos, masks, strict=True)
    ]
    return Observed(pixels(photos), observer, (), masks, grounds)


def all_scores(
    subject: MiniSubject, photos: Observed, observer: Observer, prompts: int
) -> list[list[Score]]:
    """The scores of `idgen test`, once for each of `MODELS`."""
    truth = MiniTruth(subject)
    known = truth.wants_a_photos_scene
    each = [[*fidelity_scores(), *overfitting_scores(known), *truth.scores()] for _ in MODELS]
    return [[score.start(photos, prompts, CPU) for score in of_model] for of_model in each]


def bounds(subject: MiniSubject, observer: Observer, suite: str, pictures: int) -> list[Means]:
    """Each score of each of `ROWS`; None for one that does not exist."""
    photos = observed_photos(subject, observer)
    live = subject_class(subject.noun).live
    prompts = [without_token(p) for p in read_suite(suite, live=live, class_noun=subject.noun)]
    scores = all_scores(subject, photos, observer, len(prompts))
    for index, prompt in enumerate(prompts):
        requests = [DrawingRequest(prompt, prompt, index, n, 0) for n in range(pictures)]
        for model, of_model in zip(MODELS, scores, strict=True):
            drawn = pixels(drawn_for(subject, prompt, pictures, model))
            seen = Observed(drawn, observer, requests)
            for score in of_model:
                score.add(seen)
    of_models: list[Means] = [{s.name: s.result() for s in of_model} for of_model in scores]
    return [*of_models, photo_scores(photos)]


def spreads(each: Sequence[Means]) -> Means:
    """Standard deviations between subjects, of those that have the score."""
    values = {name: [v for of in each if (v := of.get(name)) is not None] for name in TEST_SCORES}
    return {name: float(np.std(v, ddof=1)) if v[1:] else None for name, v in values.items()}


def mean_scores(each: Sequence[Means]) -> Means:
    """Means over subjects, of those that have the score."""
    values = {name: [v for of in each if (v := of.get(name)) is not None] for name in TEST_SCORES}
    return {name: float(np.mean(some)) if some else None for name, some in values.items()}


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=16, help="a prompt")
    parser.add_argument(
        "--prompts", default="mini", help="mini, mini-complex, or a file in DreamBench's form"
    )
    parser.add_argument("--held-out", type=int, default=0, help="subjects, instead of the demos")
    parser.add_argument(
        "--regime", default=PLAIN_LABEL, help="of held-out subjects, such as scenes=1&masks=wide"
    )
    args = parser.parse_args()
    if args.pictures < 1 or args.held_out < 0:
        parser.error("--pictures is at least 1, --held-out at least 0")
    regime = Regime.parse(args.regime)
    if not (regime.is_plain or args.held_out):
        parser.error("--regime is for held-out subjects: give --held-out too")
    subjects: dict[str, MiniSubject] = DEMO_SUBJECTS
    if args.held_out:
        numbers = range(args.held_out)
        subjects = {f"{number}": sample_subject(number, regime=regime) for number in numbers}
    console = Console(width=200)
    with SamSegmenter().loaded(CPU, []) as segment, OpenCVInpainter().loaded(CPU) as inpaint:
        clip, dino = ClipScorer().load(CPU), DinoScorer().load(CPU)
        observer = Observer(clip, dino, of_drawings(segment), inpaint)
        found = {
            name: bounds(subject, observer, args.prompts, args.pictures)
            for name, subject in track(list(subjects.items()), "scoring", console=console)
        }
    wide: list[Means] = [{}] * len(ROWS)
    if args.held_out:
        of_rows = [[of[at] for of in found.values()] for at in range(len(ROWS))]
        wide = [spreads(of_row) for of_row in of_rows]
        title = f"{args.held_out} held out, {regime.label}"
        found = {title: [mean_scores(of_row) for of_row in of_rows]}
    for name, each in found.items():
        table = Table("score", *ROWS, title=name)
        for score in TEST_SCORES:
            by = [spread.get(score) if score.startswith("kid_") else None for spread in wide]
            shown = zip((scores.get(score) for scores in each), by, strict=True)
            table.add_row(score, *(_shown(value, spread) for value, spread in shown))
        console.print(table)


def _shown(value: float | None, spread: float | None = None) -> str:
    told = "–" if value is None else f"{value:.3f}"
    return told if spread is None else f"{told} ± {spread:.3f}"


if __name__ == "__main__":
    run(main)
