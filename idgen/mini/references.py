"""Pictures of a subject as the world itself draws it: what drawings of it are held against."""

import random
from dataclasses import replace

from idgen.mini.accessories import ACCESSORIES
from idgen.mini.classes import subject_class
from idgen.mini.colours import COLOUR_WORDS
from idgen.mini.lineup import lineup_seeds
from idgen.mini.scenes import SCENES
from idgen.mini.subjects import MiniSubject
from idgen.mini.wishes import AS_IT_IS, Looks, Wish
from idgen.mini.world import HELD_OUT_FROM, Drawing, Factors, draw, sample_pose

PER_PROMPT = 8
"""Pictures of what a prompt asks for."""

GROUNDS = 20
"""Variations of each scene in the line-up of backgrounds."""

POSES = 19
"""Other poses in the line-up for each photo."""

ALTERED_IDENTITIES = 20
"""Individuals in the line-up of those that are all changed alike."""

ALTERED_PICTURES = 4
"""Of each of them."""

WORN: tuple[str | None, ...] = (None, *ACCESSORIES)
"""What a creature may wear."""


def drawable(noun: str, looks: Looks) -> bool:
    """Whether the world can draw a class with such looks: things wear nothing."""
    return looks.accessory is None or subject_class(noun).live


def asked_pictures(subject: MiniSubject, wish: Wish) -> list[Drawing]:
    """The subject as a prompt asks for it, in `PER_PROMPT` poses.

    Where the prompt names no scene it stands in those that no photo shows.
    """
    scenes = (wish.scene,) if wish.scene else subject.unseen_scenes or tuple(SCENES)
    return [
        _picture(subject, f"asked/{wish}/{n}", subject.identity_seed, scenes, wish.looks)
        for n in range(PER_PROMPT)
    ]


def other_grounds(subject: MiniSubject) -> list[Drawing]:
    """The subject before `GROUNDS` variations of each scene, none of them a photo's."""
    every = [(scene, n) for scene in SCENES for n in range(GROUNDS)]
    return [
        _picture(subject, f"ground/{scene}/{n}", subject.identity_seed, (scene,), AS_IT_IS)
        for scene, n in every
    ]


def other_poses(subject: MiniSubject) -> list[Drawing]:
    """The subject in `POSES` other poses for each photo."""
    every = range(POSES * len(subject.scenes))
    scenes = tuple(SCENES)
    return [_picture(subject, f"pose/{n}", subject.identity_seed, scenes, AS_IT_IS) for n in every]


def altered_lineup(subject: MiniSubject, looks: Looks) -> list[list[Drawing]]:
    """The subject first, then others of its class, all changed alike."""
    seeds, scenes = lineup_seeds(subject, ALTERED_IDENTITIES), tuple(SCENES)
    return [
        [
            _picture(subject, f"altered/{looks}/{n}", seed, scenes, looks, flip=bool(n % 2))
            for n in range(ALTERED_PICTURES)
        ]
        for seed in seeds
    ]


def example(noun: str, number: int) -> tuple[Drawing, Looks]:
    """A picture of any individual of a class in any two colours, and how it looks.

    The individuals are of the training side: no subject is among them.
    """
    rng = random.Random(f"example/{noun}/{number}")
    colour, second = rng.sample(COLOUR_WORDS, 2)
    worn = rng.choice(WORN) if subject_class(noun).live else None
    looks = Looks(colour, second, worn)
    seed, scene, pose = rng.randrange(HELD_OUT_FROM), rng.choice(list(SCENES)), sample_pose(rng)
    factors = Factors(noun, seed, scene, pose, None, rng.randrange(2**31), looks.attributes)
    return draw(factors), looks


def _picture(
    subject: MiniSubject,
    tag: str,
    identity_seed: int,
    scenes: tuple[str, ...],
    looks: Looks,
    flip: bool | None = None,
) -> Drawing:
    rng = random.Random(f"reference/{tag}/{subject.noun}/{identity_seed}")
    pose = sample_pose(rng)
    if flip is not None:
        pose = replace(pose, flip=flip)
    scene, seed = rng.choice(scenes), rng.randrange(2**31)
    return draw(Factors(subject.noun, identity_seed, scene, pose, None, seed, looks.attributes))
