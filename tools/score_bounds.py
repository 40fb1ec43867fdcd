"""What the scores can be: of the demo subjects themselves, drawn by the world in unseen scenes.

``python -m tools.score_bounds`` lets the mini world draw each demo subject, and other identities of
its class, in the scenes that no photo of it shows, and scores these pictures as drawings are
scored. The first row is what a perfect model would reach, the second what a perfect model reaches
that does not know the subject: their difference is the part of a change in CLIP-T that
belongs to the subject's looks, not to what training spoilt.
"""

import argparse
import random

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from idgen.metrics.encoders import ClipScorer, DinoScorer
from idgen.metrics.similarity import mean_reference_similarity, text_alignment
from idgen.mini.scenes import SCENES
from idgen.mini.subjects import DEMO_SUBJECTS, MiniSubject
from idgen.mini.world import HELD_OUT_FROM, Drawing, Factors, draw, sample_pose


def pixels(drawings: list[Drawing]) -> Tensor:
    """Pictures as ``B 3 H W`` uint8."""
    return torch.from_numpy(np.stack([d.picture for d in drawings])).permute(0, 3, 1, 2)


def in_scene(subject: MiniSubject, scene: str, count: int, own: bool) -> list[Drawing]:
    """The subject in a scene, in ``count`` poses; or another identity of its class each time."""
    drawings = []
    for number in range(count):
        rng = random.Random(f"bounds/{subject.noun}/{scene}/{number}")
        identity = subject.identity_seed if own else HELD_OUT_FROM + 1000 + number
        pose = sample_pose(rng)
        factors = Factors(subject.noun, identity, scene, pose, None, rng.randrange(2**31))
        drawings.append(draw(factors))
    return drawings


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=16, help="a scene")
    args = parser.parse_args()
    cpu = torch.device("cpu")
    clip, dino = ClipScorer().load(cpu), DinoScorer().load(cpu)
    table = Table("subject", "drawn", "DINO", "CLIP-I", "CLIP-T")
    cases = [(name, own) for name in DEMO_SUBJECTS for own in (True, False)]
    for name, own in track(cases, "scoring"):
        subject = DEMO_SUBJECTS[name]
        photos = pixels(subject.photos())
        scores: list[tuple[float, float, float]] = []
        for scene in subject.unseen_scenes:
            pictures = pixels(in_scene(subject, scene, args.pictures, own))
            by_clip, by_dino = clip.embed_images(pictures), dino.embed_images(pictures)
            prompt = f"a {subject.noun} {SCENES[scene].phrases[0]}"
            prompts = clip.embed_texts([prompt] * len(pictures))
            each = (
                mean_reference_similarity(by_dino, dino.embed_images(photos)),
                mean_reference_similarity(by_clip, clip.embed_images(photos)),
                text_alignment(by_clip, prompts),
            )
            scores.append((each[0].mean().item(), each[1].mean().item(), each[2].mean().item()))
        means = [f"{value:.3f}" for value in np.mean(scores, axis=0)]
        table.add_row(name, "itself" if own else "others of its class", *means)
    Console().print(table)


if __name__ == "__main__":
    main()
