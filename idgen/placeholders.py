"""What may stand in a prompt for something else: [V] and {class_noun}, or one of each of two."""

import re

from idgen.errors import UserError

PLACEHOLDER = "[V]"
"""Stands for the subject."""

CLASS_NOUN = "{class_noun}"
"""Stands for what the subject is, such as `dog`."""

FIRST, SECOND = "[V1]", "[V2]"
"""Stand for the first and the second of two subjects; [V] is the first one too."""

FIRST_NOUN, SECOND_NOUN = "{class_noun1}", "{class_noun2}"
"""Stand for what they are; {class_noun} is the first one's too."""

_BRACES = re.compile(r"\{[^{}]*\}|[{}]")


def filled(prompt: str, class_noun: str, parameter: str = "prompt") -> str:
    """A prompt with its class noun filled in; [V] stays.

    Args:
        prompt: With `{class_noun}` in it or not.
        class_noun: Such as `dog`.
        parameter: What the prompt is called, for the error.

    Raises:
        UserError: If anything else stands in braces: nobody would fill it in.
    """
    text = prompt.replace(CLASS_NOUN, class_noun)
    left = _BRACES.search(text)
    if left is not None:
        raise UserError(
            f"{parameter} {prompt!r}: nothing is filled in for {left[0]}; write {CLASS_NOUN}, or "
            "the words themselves"
        )
    return text


def check_words(text: str, parameter: str) -> None:
    """Refuses placeholders in words that are taken as they are, such as a class noun.

    Args:
        text: The words.
        parameter: What they are called, for the error.

    Raises:
        UserError: If they hold [V], or anything in braces.
    """
    left = PLACEHOLDER if PLACEHOLDER in text else next(iter(_BRACES.findall(text)), None)
    if left is not None:
        raise UserError(
            f"{parameter} {text!r}: nothing is filled in for {left} here; write the words "
            "themselves"
        )
