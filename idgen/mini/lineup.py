"""A line-up: a subject of the mini world among other individuals of its class."""

import random
from dataclasses import replace

from idgen.mini.scenes import SCENES
from idgen.mini.subjects import MiniSubject
from idgen.mini.world import HELD_OUT_FROM, Drawing, Factors, draw, sample_pose

IDENTITIES = 200
PICTURES = 4
"""Of each identity: with one, true pictures are taken for another three times as often."""


def lineup_seeds(subject: MiniSubject, identities: int = IDENTITIES) -> list[int]:
    """The identities in a subject's line-up, all of the held-out side, the subject's first.

    Args:
        subject: The subject; each has its own line-up, always the same.
        identities: How many, the subject among them.
    """
    rng = random.Random(f"line-up/{subject.noun}/{subject.identity_seed}")
    seeds = [subject.identity_seed]
    while len(seeds) < identities:
        seed = HELD_OUT_FROM + rng.randrange(HELD_OUT_FROM)
        if seed not in seeds:
            seeds.append(seed)
    return seeds


def lineup_pictures(noun: str, identity_seed: int, pictures: int = PICTURES) -> list[Drawing]:
    """Pictures of one identity in various poses and scenes, none of them one of its photos.

    Args:
        noun: Class of the subject.
        identity_seed: The identity.
        pictures: How many; every other is mirrored.
    """
    drawings = []
    for number in range(pictures):
        rng = random.Random(f"line-up picture/{noun}/{identity_seed}/{number}")
        pose = replace(sample_pose(rng), flip=bool(number % 2))
        scene, seed = rng.choice(list(SCENES)), rng.randrange(2**31)
        drawings.append(draw(Factors(noun, identity_seed, scene, pose, None, seed)))
    return drawings
