"""Pictures of two subjects side by side, as the mini world draws them."""

import random
from dataclasses import dataclass

from idgen.masks import Mask, Picture
from idgen.mini.classes import subject_class
from idgen.mini.identity import sample_identity
from idgen.mini.pen import Pen, Pose
from idgen.mini.scenes import paint_scene
from idgen.mini.world import SIDE, SUPERSAMPLE, reduced


@dataclass(frozen=True)
class Standing:
    """One of the two.

    Attributes:
        noun: Its class.
        identity_seed: Seed of its identity.
        pose: Place, size, rotation and flip.
    """

    noun: str
    identity_seed: int
    pose: Pose


@dataclass(frozen=True)
class PairDrawing:
    """A picture of two subjects and the truth about it.

    Attributes:
        picture: RGB, 64 x 64 x 3, uint8.
        masks: Of the left one and of the right one, 64 x 64, bool.
        background: The same scene without them, 64 x 64 x 3, uint8.
    """

    picture: Picture
    masks: tuple[Mask, Mask]
    background: Picture


def draw_pair(left: Standing, right: Standing, scene: str, seed: int) -> PairDrawing:
    """Draws two subjects in one scene; what the right one covers of the left one is not its own.

    Args:
        left: Drawn first.
        right: Drawn over it, where they touch.
        scene: Name of the scene.
        seed: Variation of the scene.

    Raises:
        UserError: If there is no such class or scene.
    """
    background = paint_scene(scene, seed, SIDE * SUPERSAMPLE)
    canvas, masks = background.copy(), []
    for one in (left, right):
        pen = Pen(canvas, one.pose, sample_identity(one.identity_seed))
        subject_class(one.noun).paint(pen)
        masks.append(reduced(pen.mask) >= 128)
    return PairDrawing(reduced(canvas), (masks[0] & ~masks[1], masks[1]), reduced(background))


def sample_place(rng: random.Random, right: bool) -> Pose:
    """Draws a pose in one half of the picture, whole and nearly upright."""
    return Pose(
        x=rng.uniform(0.25, 0.29) + 0.46 * right,
        y=rng.uniform(0.42, 0.6),
        size=rng.uniform(0.38, 0.46),
        angle=rng.uniform(-14, 14),
        flip=rng.random() < 0.5,
    )
