"""Pictures of two subjects as the world draws them: what drawings of both are held against."""

import random

from idgen.mini.pairs import PairDrawing, Standing, draw_pair, sample_place
from idgen.mini.pen import Pose
from idgen.mini.scenes import SCENES

PICTURES = 4
"""Of each individual in a line-up."""

_NOWHERE = Pose(x=9.0, y=9.0, size=0.1, angle=0.0, flip=False)


def half_pictures(noun: str, identity_seed: int, pictures: int = PICTURES) -> list[PairDrawing]:
    """Pictures of one individual in a half of the picture, as small as one of two is.

    Args:
        noun: Its class.
        identity_seed: Seed of its identity.
        pictures: How many; all combinations of the half and of left and right, in turn.

    Returns:
        Of each, the first mask is its.
    """
    drawings = []
    for number in range(pictures):
        rng = random.Random(f"half/{noun}/{identity_seed}/{number}")
        place = sample_place(rng, right=bool(number % 2))
        pose = Pose(place.x, place.y, place.size, place.angle, flip=bool(number // 2 % 2))
        alone = Standing(noun, identity_seed, pose)
        nobody = Standing(noun, identity_seed, _NOWHERE)
        drawings.append(draw_pair(alone, nobody, rng.choice(list(SCENES)), rng.randrange(2**31)))
    return drawings


def side_by_side(
    left: tuple[str, int], right: tuple[str, int], scene: str, tag: str
) -> PairDrawing:
    """Two individuals in one scene.

    Args:
        left: Class and identity of the left one.
        right: Of the right one.
        scene: The scene's name.
        tag: Decides places and the scene's variation.
    """
    rng = random.Random(f"side by side/{tag}")
    one, other = (sample_place(rng, right=at) for at in (False, True))
    seed = rng.randrange(2**31)
    return draw_pair(Standing(*left, one), Standing(*right, other), scene, seed)
