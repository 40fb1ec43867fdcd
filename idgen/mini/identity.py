"""An identity: what makes one dog this dog, whatever its scene and pose."""

import random
from dataclasses import dataclass, replace

from idgen.mini.colours import COLOUR_WORDS, Colour, sample_colour

TEXTURES: tuple[str, ...] = ("plain", "stripes", "dots", "checks")


@dataclass(frozen=True)
class Identity:
    """One point in the continuous space of looks, the same for every class of subject.

    Attributes:
        colour_words: The words that name ``colours``, in the same order.
        colours: Main colour, second colour (of the texture and of limbs, roofs, sails ...), trim.
        texture: One of ``TEXTURES``, drawn in the second colour over the main one.
        texture_period: Distance from one stripe, dot or check to the next, in subject half-widths.
        texture_angle: Direction of the texture in degrees.
        shape: Four numbers in [0, 1] that each class reads as proportions.
        eye: Colour of eyes, windows or lamps.
    """

    colour_words: tuple[str, str, str]
    colours: tuple[Colour, Colour, Colour]
    texture: str
    texture_period: float
    texture_angle: float
    shape: tuple[float, float, float, float]
    eye: Colour

    def recoloured(self, word: str, seed: int = 0, second: str | None = None) -> "Identity":
        """Return this identity in another main colour, and perhaps another second one.

        Args:
            word: Names the main colour.
            seed: Which of the colours of that name.
            second: Names the second colour; None keeps it, unless it has the main colour's name:
                then the trim's takes its place.
        """
        rng = random.Random(f"recolour/{word}/{seed}")
        main = sample_colour(word, rng)
        kept = 1 if self.colour_words[1] != word else 2
        beside, colour = self.colour_words[kept], self.colours[kept]
        if second is not None:
            beside, colour = second, sample_colour(second, rng)
        return replace(
            self,
            colour_words=(word, beside, self.colour_words[2]),
            colours=(main, colour, self.colours[2]),
        )


def sample_identity(seed: int) -> Identity:
    """Draw the identity of ``seed``: the same seed always gives the same identity."""
    rng = random.Random(f"identity/{seed}")
    words = rng.sample(COLOUR_WORDS, 3)
    colours = [sample_colour(word, rng) for word in words]
    return Identity(
        colour_words=(words[0], words[1], words[2]),
        colours=(colours[0], colours[1], colours[2]),
        texture=rng.choice(TEXTURES),
        texture_period=rng.uniform(0.42, 0.66),
        texture_angle=rng.choice((0.0, 45.0, 90.0, 135.0)) + rng.uniform(-10, 10),
        shape=(rng.random(), rng.random(), rng.random(), rng.random()),
        eye=rng.choice(((255, 255, 255), (255, 230, 90), (140, 230, 255), (170, 255, 150))),
    )
