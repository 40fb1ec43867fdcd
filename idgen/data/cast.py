"""Who is named in prompts: one subject, or two that are learnt together."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from idgen.backbones.backbone import Backbone
from idgen.data.prompts import without_token
from idgen.data.subject import Subject
from idgen.errors import UserError
from idgen.placeholders import (
    CLASS_NOUN,
    FIRST,
    FIRST_NOUN,
    NAMES,
    PLACEHOLDER,
    SECOND,
    SECOND_NOUN,
    filled,
    named,
    without_names,
)

_EXAMPLE = f"'a {FIRST} robot and a {SECOND} cat'"


class Prompt(NamedTuple):
    """A prompt as it is used.

    Attributes:
        spoken: As the backbone reads it, with the tokens of those it names.
        plain: The same without any token.
    """

    spoken: str
    plain: str


@dataclass(frozen=True)
class Cast:
    """One subject, which is [V] in prompts, or two, which are [V1] and [V2]; [V] is the first.

    Attributes:
        first: The one, or the first of two.
        second: The other one; None where there is one alone.
    """

    first: Subject
    second: Subject | None = None

    @property
    def subjects(self) -> Sequence[Subject]:
        """All of them."""
        return (self.first,) if self.second is None else (self.first, self.second)

    def filled(self, prompt: str, parameter: str = "prompt") -> str:
        """A prompt with the class nouns filled in; [V1] and [V2] stay.

        Args:
            prompt: With `{class_noun}`, or `{class_noun1}` and `{class_noun2}`, or without.
            parameter: What the prompt is called, for the error.

        Raises:
            UserError: If anything else stands in braces, or a subject is named that there is not.
        """
        if self.second is not None:
            prompt = prompt.replace(FIRST_NOUN, self.first.class_noun)
            prompt = prompt.replace(SECOND_NOUN, self.second.class_noun)
        elif (name := next((n for n in (FIRST, SECOND) if n in prompt), None)) is not None:
            raise UserError(
                f"{parameter} {prompt!r} names {name}, and there is one subject: write "
                f"{PLACEHOLDER}, or set data.companion"
            )
        return filled(prompt, self.first.class_noun, parameter)

    def read(self, prompt: str) -> Prompt:
        """A filled prompt as it is used.

        Raises:
            UserError: If it names nobody.
        """
        if self.second is None:
            return Prompt(self.first.spoken(prompt), without_token(prompt))
        if not self.named(prompt):
            raise UserError(
                f"prompt {prompt!r} names neither subject: put {FIRST} and {SECOND} where they "
                f"belong, such as {_EXAMPLE}"
            )
        first = dict.fromkeys((FIRST, PLACEHOLDER), self.first.token)
        spoken = named(prompt, {**first, SECOND: self.second.token})
        return Prompt(spoken, without_names(prompt))

    def named(self, prompt: str) -> list[Subject]:
        """Who is named in a prompt, in the order of `subjects`."""
        names = set(NAMES.findall(prompt))
        there = [bool(names - {SECOND}), SECOND in names]
        return [one for one, is_there in zip(self.subjects, there, strict=False) if is_there]

    def check_named(self, prompt: str, key: str) -> None:
        """Refuses a prompt that names one of two subjects, where it has to name both.

        Args:
            prompt: Filled.
            key: What the prompt is of, for the error.

        Raises:
            UserError: If one is missing.
        """
        named = self.named(prompt)
        if self.second is not None and len(named) == 1:
            lacks = FIRST if named == [self.second] else SECOND
            raise UserError(
                f"{key}: prompt {prompt!r} names one of the two subjects and lacks {lacks}; name "
                f"both, such as in {_EXAMPLE}"
            )

    def check_words(self, prompt: str, backbone: Backbone) -> None:
        """Refuses a prompt in which a subject that it names is no word of its own.

        Args:
            prompt: Filled.
            backbone: Who reads it.

        Raises:
            UserError: If there is one, or the prompt is too long.
        """
        spoken = self.read(prompt).spoken
        backbone.tokenize([spoken])  # which refuses one that is too long
        for subject in self.named(prompt) if self.second is not None else (self.first,):
            if not backbone.says(spoken, subject.token):
                name = PLACEHOLDER if self.second is None else self._name(subject)
                raise UserError(
                    f"prompt {prompt!r} does not name the subject: {name} has to stand as a word "
                    f"of its own, such as in 'a {name} dog'"
                )

    def _name(self, subject: Subject) -> str:
        return FIRST if subject is self.first else SECOND

    def check(self, backbone: Backbone) -> None:
        """Checks the words of each, and that they can be told apart.

        Args:
            backbone: Whose tokenizer reads them.

        Raises:
            UserError: If words cannot be used, the two tokens are one, or a token is part of what
                is said of the other subject.
        """
        self.first.check(backbone)
        if self.second is None:
            return
        try:
            self.second.check(backbone)
        except UserError as error:
            text = str(error)
            own = text.startswith("subject.")
            raise UserError(
                f"companion.{text.removeprefix('subject.')}" if own else text
            ) from error
        tokens = [backbone.word_ids(subject.token) for subject in self.subjects]
        if tokens[0] == tokens[1]:
            raise UserError(
                f"companion.token {self.second.token!r} is the token of the first subject too; "
                "choose another rare word, such as 'zwx'"
            )
        for subject, other in zip(self.subjects, reversed(self.subjects), strict=True):
            said = f"{other.class_noun} {without_token(other.prompt)}"
            if backbone.says(said, subject.token):
                key = "subject" if subject is self.first else "companion"
                raise UserError(
                    f"{key}.token {subject.token!r} is part of what is said of the other subject, "
                    f"{said!r}; choose a rare word"
                )


def exchanged(prompt: str) -> str:
    """A template with the two subjects in each other's place."""
    swapped = {FIRST: SECOND, PLACEHOLDER: SECOND, SECOND: FIRST}
    nouns = {FIRST_NOUN: SECOND_NOUN, CLASS_NOUN: SECOND_NOUN, SECOND_NOUN: FIRST_NOUN}
    each = {**swapped, **nouns}
    return re.sub("|".join(map(re.escape, each)), lambda found: each[found[0]], prompt)
