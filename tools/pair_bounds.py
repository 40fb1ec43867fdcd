"""What the scores of two subjects can be: of pairs that the world itself draws for the suite.

``python -m tools.pair_bounds`` lets the mini world draw two subjects side by side, as each prompt
of `mini-two` asks, and scores these pictures as `idgen test` scores drawings, masks by the mini
SAM. The first column is what a perfect model would reach. Then come faults one at a time: other
individuals of both classes, what a model draws that has learnt neither; each in the other's colours
and texture, all that can bleed over; each in the other's place; and one of the two alone, by turns.
``--pairs N`` takes N pairs of held-out subjects, as `tools.two_subjects` does, in place of the demo
subjects, and shows means.
"""

import argparse
import random
from collections.abc import Sequence

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from idgen.data.prompts import suite_templates
from idgen.evaluation.drawing import Means
from idgen.evaluation.observed import Observed, Observer
from idgen.evaluation.scores import fidelity_scores
from idgen.masks import Picture
from idgen.metrics.encoders import ClipScorer, DinoScorer
from idgen.mini.pair_references import side_by_side
from idgen.mini.subjects import DEMO_SUBJECTS, MiniSubject, sample_subject
from idgen.mini.truth import PAIR_SCORES, PairTruth
from idgen.mini.truth.pair_judge import PairLineups
from idgen.mini.wishes import asked_for
from idgen.mini.world import HELD_OUT_FROM, Factors, draw, sample_pose
from idgen.prepare import OpenCVInpainter, SamSegmenter
from idgen.prepare.segmenters.segmenter import of_drawings
from idgen.sampling import DrawingRequest
from tools.command import run

CPU = torch.device("cpu")
TOKENS = ("sks", "zwx")
ROWS = ("both", "others of their classes", "in each other's looks", "in each other's place", "one")
SCORES = ("dino", "clip_t", *PAIR_SCORES, "background_accuracy")

Pair = tuple[MiniSubject, MiniSubject]


def sample_pair(number: int) -> Pair:
    """Two held-out subjects of different classes; the same number always gives the same two."""
    first = sample_subject(300 + 20 * number)
    for seed in range(301 + 20 * number, 320 + 20 * number):
        second = sample_subject(seed)
        if second.noun != first.noun:
            return first, second
    raise AssertionError("twenty subjects of one class")


def requests(pair: Pair, pictures: int) -> list[DrawingRequest]:
    """What the suite asks for, with the class nouns and words filled in."""
    found = []
    for index, template in enumerate(suite_templates("mini-two", False, "")):
        spoken = template
        for at, subject in enumerate(pair, start=1):
            spoken = spoken.replace(f"[V{at}]", TOKENS[at - 1])
            spoken = spoken.replace(f"{{class_noun{at}}}", subject.noun)
        plain = " ".join(word for word in spoken.split() if word not in TOKENS)
        found += [DrawingRequest(spoken, plain, index, n, 0) for n in range(pictures)]
    return found


def drawn_for(pair: Pair, request: DrawingRequest, row: str) -> Tensor:
    """What a model draws for a prompt: one of `ROWS`, ``3 64 64`` uint8."""
    scene = asked_for(request.plain_prompt, pair[0].noun).scene
    assert scene is not None, "every prompt of the suite names a scene"
    tag = f"{request.prompt}/{request.number}"
    rng = random.Random(f"pair bounds/{tag}")
    if row == "one":
        alone, pose = pair[(request.prompt_index + request.number) % 2], sample_pose(rng)
        factors = Factors(alone.noun, alone.identity_seed, scene, pose, None, rng.randrange(2**31))
        return _pixels(draw(factors).picture)
    seeds = [subject.identity_seed for subject in pair]
    if row == "others of their classes":
        # No candidates of the line-ups, or they would be told from the subjects too easily.
        seeds = [HELD_OUT_FROM + 1000 + 2 * request.number + at for at in (0, 1)]
    if row == "in each other's looks":
        seeds.reverse()
    standing = [(subject.noun, seed) for subject, seed in zip(pair, seeds, strict=True)]
    words = request.prompt.split()
    if (words.index(TOKENS[0]) > words.index(TOKENS[1])) is not (row == "in each other's place"):
        standing.reverse()
    return _pixels(side_by_side(standing[0], standing[1], scene, tag).picture)


def _pixels(picture: Picture) -> Tensor:
    return torch.tensor(picture).permute(2, 0, 1)


def bounds(pair: Pair, observer: Observer, pictures: int) -> list[Means]:
    """Each score of each of `ROWS`."""
    shown = [photo for subject in pair for photo in subject.photos()]
    photos = Observed(torch.stack([_pixels(photo.picture) for photo in shown]), observer)
    asked = requests(pair, pictures)
    lineups = PairLineups(pair, observer.dino, observer.clip)
    found: list[Means] = []
    for row in ROWS:
        truth = PairTruth(pair, TOKENS, lineups)
        scores = [s.start(photos, 10, CPU) for s in (*fidelity_scores(), *truth.scores())]
        seen = Observed(torch.stack([drawn_for(pair, r, row) for r in asked]), observer, asked)
        for score in scores:
            score.add(seen)
        found.append({score.name: score.result() for score in scores})
    return found


def mean_scores(each: Sequence[Means]) -> Means:
    """Means over pairs, of those that have the score."""
    values = {name: [v for of in each if (v := of.get(name)) is not None] for name in SCORES}
    return {name: float(np.mean(some)) if some else None for name, some in values.items()}


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=8, help="a prompt")
    parser.add_argument("--pairs", type=int, default=0, help="of held-out subjects")
    args = parser.parse_args()
    if args.pictures < 1 or args.pairs < 0:
        parser.error("--pictures is at least 1, --pairs at least 0")
    pairs = [sample_pair(number) for number in range(args.pairs)]
    pairs = pairs or [(DEMO_SUBJECTS["robot"], DEMO_SUBJECTS["cat"])]
    console = Console(width=200)
    with SamSegmenter().loaded(CPU, []) as segment, OpenCVInpainter().loaded(CPU) as inpaint:
        clip, dino = ClipScorer().load(CPU), DinoScorer().load(CPU)
        observer = Observer(clip, dino, of_drawings(segment), inpaint)
        of_pairs = [
            bounds(pair, observer, args.pictures)
            for pair in track(pairs, "scoring", console=console)
        ]
    means = [mean_scores([of[at] for of in of_pairs]) for at in range(len(ROWS))]
    title = ", ".join(f"{first.noun} and {second.noun}" for first, second in pairs)
    table = Table("score", *ROWS, title=title)
    for score in SCORES:
        values = (of_row[score] for of_row in means)
        table.add_row(score, *("–" if value is None else f"{value:.3f}" for value in values))
    console.print(table)


if __name__ == "__main__":
    run(main)
