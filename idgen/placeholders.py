"""What may stand in a prompt for something else: [V] and {class_noun}, or one of each of two."""

import re
from collections.abc import Mapping

from idgen.errors import UserError

PLACEHOLDER = "[V]"
"""Stands for the subject."""

CLASS_NOUN = "{class_noun}"
"""Stands for what the subject is, such as `dog`."""

FIRST, SECOND = "[V1]", "[V2]"
"""Stand for the first and the second of two subjects; [V] is the first one too."""

FIRST_NOUN, SECOND_NOUN = "{class_noun1}", "{class_noun2}"
"""Stand for what they are; {class_noun} is the first one's too."""

NAMES = re.compile("|".join(map(re.escape, (FIRST, SECOND, PLACEHOLDER))))
"""Whatever names a subject."""

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


def named(prompt: str, words: Mapping[str, str]) -> str:
    """A prompt with a word in place of each name.

    Args:
        prompt: With [V], [V1] or [V2] in it, or without.
        words: By the names.

    Raises:
        UserError: If the prompt holds a name that there is no word for.
    """
    unknown = [name for name in NAMES.findall(prompt) if name not in words]
    if unknown:
        raise UserError(
            f"prompt {prompt!r} names {unknown[0]}, and the model knows {' and '.join(words)} alone"
        )
    return " ".join(NAMES.sub(lambda found: words[found[0]], prompt).split())


def without_names(prompt: str) -> str:
    """A prompt without [V], [V1] and [V2]."""
    return " ".join(NAMES.sub("", prompt).split())
