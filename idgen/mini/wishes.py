"""What a prompt asks of the mini world: the scene, and a change of the subject's looks."""

import re
from dataclasses import dataclass

from idgen.mini.accessories import ACCESSORIES
from idgen.mini.colours import COLOUR_WORDS
from idgen.mini.scenes import SCENES


@dataclass(frozen=True)
class Wish:
    """What a prompt asks for.

    Attributes:
        scene: The scene's name; None if it names none.
        attribute: A colour word or an accessory; None if the subject is to look as it does.
    """

    scene: str | None
    attribute: str | None


def asked_for(prompt: str, noun: str) -> Wish:
    """Read a prompt such as `a red cat wearing a blue scarf in the snow`.

    Args:
        prompt: Without the subject's token.
        noun: Class of the subject; colour words count up to it, for scenes have colours too.

    Returns:
        What it asks for; an accessory goes before a colour.
    """
    text = " ".join(prompt.lower().split())
    scene = next(
        (name for name, s in SCENES.items() if any(_has(text, phrase) for phrase in s.phrases)),
        None,
    )
    worn = next((a for a in ACCESSORIES if _has(text, f"wearing a {a}")), None)
    before = re.split(rf"\b{re.escape(noun)}\b", text, maxsplit=1)[0]
    colour = next((word for word in COLOUR_WORDS if _has(before, word)), None)
    return Wish(scene, worn or colour)


def _has(text: str, phrase: str) -> bool:
    return re.search(rf"\b{re.escape(phrase)}\b", text) is not None
