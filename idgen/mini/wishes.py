"""What a prompt asks of the mini world: the scene, and changes of the subject's looks."""

import re
from dataclasses import dataclass

from idgen.mini.accessories import ACCESSORIES
from idgen.mini.colours import COLOUR_WORDS
from idgen.mini.scenes import SCENES


@dataclass(frozen=True)
class Looks:
    """How a subject is to look; None for what stays as it is.

    Attributes:
        colour: Its main colour, a word.
        second: Its second colour, likewise; only beside a main one.
        accessory: What it wears.
    """

    colour: str | None = None
    second: str | None = None
    accessory: str | None = None

    @property
    def attributes(self) -> tuple[str, ...]:
        """The changes that there are, as `Factors` take them."""
        return tuple(a for a in (self.colour, self.second, self.accessory) if a is not None)


AS_IT_IS = Looks()


@dataclass(frozen=True)
class Wish:
    """What a prompt asks for.

    Attributes:
        scene: The scene's name; None if it names none.
        looks: How the subject is to look.
    """

    scene: str | None
    looks: Looks = AS_IT_IS


def asked_for(prompt: str, noun: str) -> Wish:
    """Read a prompt such as `a red and blue cat wearing a blue scarf in the snow`.

    Args:
        prompt: Without the subject's token.
        noun: Class of the subject; colour words count up to it, for scenes have colours too.

    Returns:
        What it asks for.
    """
    text = " ".join(prompt.lower().split())
    scene = next(
        (name for name, s in SCENES.items() if any(_has(text, phrase) for phrase in s.phrases)),
        None,
    )
    before = re.split(rf"\b{re.escape(noun)}\b", text, maxsplit=1)[0]
    colours = re.findall(rf"\b(?:{'|'.join(COLOUR_WORDS)})\b", before)
    looks = Looks(
        colour=colours[0] if colours else None,
        second=colours[1] if colours[1:] else None,
        accessory=next((a for a in ACCESSORIES if _has(text, f"wearing a {a}")), None),
    )
    return Wish(scene, looks)


def _has(text: str, phrase: str) -> bool:
    return re.search(rf"\b{re.escape(phrase)}\b", text) is not None
