"""The mini world: 64 x 64 pictures drawn by code, with everything known about each of them."""

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from idgen.errors import UserError
from idgen.mini.accessories import ACCESSORIES, paint_accessory
from idgen.mini.captions import Wording, write_caption
from idgen.mini.classes import CLASSES, subject_class
from idgen.mini.colours import COLOUR_WORDS
from idgen.mini.identity import Identity, sample_identity
from idgen.mini.pen import Pen, Pose
from idgen.mini.scenes import SCENES, paint_scene, scene_named

SIDE = 64
SUPERSAMPLE = 2
"""How much larger pictures are drawn."""

# Identities of training have seeds below this, held-out ones from here on.
HELD_OUT_FROM = 1_000_000
HELD_OUT_ACCESSORIES: frozenset[tuple[str, str]] = frozenset(
    {("turtle", "black top hat"), ("bird", "rainbow scarf"), ("cat", "red hat")}
)


@dataclass(frozen=True)
class Factors:
    """Everything a picture is drawn from.

    Attributes:
        noun: Class of the subject.
        identity_seed: Seed of its identity.
        scene: Name of the scene.
        pose: Place, size, rotation and flip.
        attribute: A colour word, an accessory, or None: it looks as it does.
        seed: Variation of the scene and of the caption.
        also: Further ones. Of two colour words the second is the second colour's.
    """

    noun: str
    identity_seed: int
    scene: str
    pose: Pose
    attribute: str | None
    seed: int
    also: tuple[str, ...] = ()

    @property
    def attributes(self) -> tuple[str, ...]:
        """All changes of its looks."""
        return self.also if self.attribute is None else (self.attribute, *self.also)

    @property
    def accessory(self) -> str | None:
        """What it wears, if anything."""
        return next((a for a in self.attributes if a in ACCESSORIES), None)

    @property
    def identity(self) -> Identity:
        """The identity as drawn: recoloured if a colour is among the attributes."""
        identity = sample_identity(self.identity_seed)
        if not self.colours:
            return identity
        return identity.recoloured(self.colours[0], self.seed, *self.colours[1:2])

    @property
    def colours(self) -> tuple[str, ...]:
        """The colour words among the attributes."""
        return tuple(a for a in self.attributes if a in COLOUR_WORDS)


@dataclass(frozen=True)
class Drawing:
    """A picture of the mini world and the truth about it.

    Attributes:
        picture: RGB, 64 x 64 x 3, uint8.
        mask: Subject, 64 x 64, bool: pixels that it covers by half or more.
        background: The same scene without the subject, 64 x 64 x 3, uint8.
        caption: One caption of it.
        factors: What it was drawn from.
    """

    picture: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    background: NDArray[np.uint8]
    caption: str
    factors: Factors


def draw(factors: Factors) -> Drawing:
    """Draw the picture of ``factors``; the same factors always give the same picture.

    Raises:
        UserError: If the class, scene or attribute does not exist, or the class cannot wear it.
    """
    subject = subject_class(factors.noun)
    _check_attributes(factors.noun, factors.attributes)
    identity = factors.identity
    background = paint_scene(factors.scene, factors.seed, SIDE * SUPERSAMPLE)
    pen = Pen(background.copy(), factors.pose, identity)
    anchors = subject.paint(pen)
    accessory = factors.accessory
    if accessory is not None and anchors is not None:
        paint_accessory(accessory, pen, *anchors)
    wording = Wording(
        factors.noun, identity.colour_words, identity.texture, accessory, factors.scene
    )
    rng = random.Random(f"caption/{factors.seed}/{factors.identity_seed}")
    return Drawing(
        picture=reduced(pen.canvas),
        mask=np.asarray(reduced(pen.mask)) >= 128,
        background=reduced(background),
        caption=write_caption(wording, rng, must_colour=bool(factors.colours)),
        factors=factors,
    )


def reduced(image: Image.Image) -> NDArray[np.uint8]:
    """A picture drawn `SUPERSAMPLE` times as large, at its own size."""
    return np.asarray(image.reduce(SUPERSAMPLE), dtype=np.uint8)


def _check_attributes(noun: str, attributes: tuple[str, ...]) -> None:
    for attribute in attributes:
        if attribute in COLOUR_WORDS:
            continue
        if attribute not in ACCESSORIES:
            known = ", ".join((*COLOUR_WORDS, *ACCESSORIES))
            raise UserError(f"no attribute '{attribute}' in the mini world; there are: {known}")
        if not CLASSES[noun].live:
            live = ", ".join(name for name, entry in CLASSES.items() if entry.live)
            raise UserError(f"a {noun} cannot wear a {attribute}; these classes can: {live}")


def sample_pose(rng: random.Random) -> Pose:
    """Draw a pose: the subject is large, near the middle and nearly upright."""
    return Pose(
        x=rng.uniform(0.38, 0.62),
        y=rng.uniform(0.46, 0.62),
        size=rng.uniform(0.54, 0.78),
        angle=rng.uniform(-14, 14),
        flip=rng.random() < 0.5,
    )


def is_held_out(noun: str, scene: str, attribute: str | None = None) -> bool:
    """Tell whether training never sees this combination of class, scene and attribute.

    Of the 144 pairs of class and scene 12 are held out, one of each class and of each scene, and
    three pairs of creature and accessory.

    Raises:
        UserError: If there is no such class or scene.
    """
    row = list(CLASSES).index(subject_class(noun).noun)
    column = list(SCENES).index(scene_named(scene).name)
    if (row * 5 + column) % len(SCENES) == 3:
        return True
    return attribute is not None and (noun, attribute) in HELD_OUT_ACCESSORIES


def sample_factors(seed: int, held_out_identity: bool = False) -> Factors:
    """Draw the factors of picture number ``seed``; combinations held out are left out.

    Args:
        seed: Number of the picture. All else follows from it.
        held_out_identity: Take the identity from the side that training never sees.
    """
    rng = random.Random(f"factors/{seed}/{held_out_identity}")
    first = HELD_OUT_FROM if held_out_identity else 0
    while True:
        noun, scene = rng.choice(list(CLASSES)), rng.choice(list(SCENES))
        attribute: str | None = None
        if CLASSES[noun].live and rng.random() < 0.25:
            attribute = rng.choice(ACCESSORIES)
        if not is_held_out(noun, scene, attribute):
            break
    identity_seed = first + rng.randrange(HELD_OUT_FROM)
    return Factors(noun, identity_seed, scene, sample_pose(rng), attribute, rng.randrange(2**31))
