"""Captions of the mini world, in DreamBench's wording."""

import random
from dataclasses import dataclass

from idgen.mini.scenes import SCENES

TEXTURE_WORDS: dict[str, str] = {"stripes": "striped", "dots": "dotted", "checks": "checked"}
PREFIXES: tuple[str, ...] = ("", "a photo of ", "a picture of ")
RARE_TOKENS: tuple[str, ...] = ("sks", "zwx", "qlv", "ohwx")
EXTRA_WORDS: tuple[str, ...] = (
    "an", "and", "the", "of", "in", "on", "with", "this", "that", "one", "it", "is", "two", "shiny",
    "wet", "big", "small", "tree", "mountain", "image", "drawing", "colored", "background", "plain",
)  # fmt: skip


@dataclass(frozen=True)
class Wording:
    """What a caption may mention.

    Attributes:
        noun: Class of the subject.
        colours: Colour words, main first.
        texture: Texture of the coat.
        accessory: What it wears, or None.
        scene: Name of the scene.
    """

    noun: str
    colours: tuple[str, str, str]
    texture: str
    accessory: str | None
    scene: str


def article(phrase: str) -> str:
    """Put "a" or "an" before a phrase."""
    return f"an {phrase}" if phrase[0] in "aeiou" else f"a {phrase}"


def write_caption(wording: Wording, rng: random.Random, must_colour: bool = False) -> str:
    """Write one of the many captions of a picture.

    The main colour is named in three quarters of them (always if ``must_colour``), the scene in
    nine tenths, the second colour and the texture in many: what a caption names, a model need not
    guess, and learns sooner.
    """
    words: list[str] = []
    if must_colour or rng.random() < 0.75:
        words.append(wording.colours[0])
        if rng.random() < 0.5:
            words += ["and", wording.colours[1]]
    if wording.texture in TEXTURE_WORDS and rng.random() < 0.4:
        words.append(TEXTURE_WORDS[wording.texture])
    text = rng.choice(PREFIXES) + article(" ".join([*words, wording.noun]))
    if wording.accessory is not None:
        text += f" wearing {article(wording.accessory)}"
    if rng.random() < 0.9:
        text += f" {rng.choice(SCENES[wording.scene].phrases)}"
    return text
