"""A captioner that asks a vision-language model of transformers."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch
from PIL import Image

from idgen.errors import UserError
from idgen.fingerprint import fingerprint_fields
from idgen.masks import Picture
from idgen.models.vision_language import VisionLanguageModel
from idgen.prepare.captioners.captioner import Captioner, Describe
from idgen.prepare.photos import Photo

INSTRUCTION: Final = (
    "This is a photo of a place. Where was it taken: in what place, on what surface, in what "
    "light? Answer with one phrase of at most eight words that begins with a preposition, "
    "such as: on a wooden table in the sun. Answer with the phrase alone."
)
_VERSION = 2

_PREPOSITIONS = frozenset(
    {"above", "across", "against", "along", "amid", "among", "around", "at", "before", "behind",
     "below", "beneath", "beside", "between", "beyond", "by", "down", "during", "in", "inside",
     "into", "near", "next", "on", "onto", "out", "outside", "over", "past", "through",
     "toward", "towards", "under", "underneath", "up", "upon", "with", "within", "without"}
)  # fmt: skip
_LEADS = re.compile(
    r"^(answer|phrase|caption|location)\s*:\s*"
    r"|^(this|the|a|an)?\s*(photo|picture|image|scene)\s+(was|is|shows)?\s*(taken|set|shot)?\s*"
    r"|^(it|this)\s+(was|is)\s+(taken|set|shot)?\s*"
    r"|^taken\s+",
    re.IGNORECASE,
)
_NOTHING = frozenset({"none", "unknown", "n/a", "nothing", "nowhere"})
_LOOSE_ENDS = _PREPOSITIONS | {
    *("a", "an", "the", "some", "many", "few", "and", "or", "of", "to", "that", "which", "is")
}


class VlmCaptioner(Captioner):
    """A vision-language model, asked where a photo was taken; it sees the background only."""

    def __init__(
        self, model: VisionLanguageModel, instruction: str = INSTRUCTION, longest: int = 12
    ) -> None:
        """Takes the model; the weights are loaded by `loaded`.

        Args:
            model: Who is asked.
            instruction: What is asked of each background.
            longest: Words of a phrase that are kept.

        Raises:
            UserError: If `longest` is below 1.
        """
        if longest < 1:
            raise UserError(f"VlmCaptioner.longest must be 1 or more; it is {longest}")
        self.model = model
        self.instruction = instruction
        self.longest = longest

    @property
    def identity(self) -> str:
        """Hash of the model, the instruction and how answers are cleaned."""
        return fingerprint_fields(
            captioner="vlm",
            version=_VERSION,
            model=self.model.identity,
            instruction=self.instruction,
            longest=self.longest,
        )

    @contextmanager
    def loaded(self, device: torch.device) -> Iterator[Describe]:
        """Loads the model, and frees it when the context ends.

        Args:
            device: Where it runs.

        Raises:
            UserError: If it cannot be loaded, or does not take a picture and a text.
        """
        self.model.load(device)

        def describe(photo: Photo, background: Picture) -> str:
            said = self.model.ask([Image.fromarray(background)], self.instruction)
            return as_phrase(said, self.longest)

        try:
            yield describe
        finally:
            self.model.release()


def as_phrase(answer: str, longest: int) -> str:
    """A model's answer as one phrase that continues a prompt; empty if it says nothing.

    Of what it says the first line counts, and of that the first sentence, without quotes, marks and
    words such as "the photo was taken". A bare noun phrase becomes "with ... in the background".

    Args:
        answer: Such as `"On a wooden table."`.
        longest: Words that are kept; what would be left hanging at the end goes too.
    """
    lines = [line.strip(" \t*_#>-\"'`“”‘’") for line in answer.splitlines()]
    line = next(filter(None, lines), "")
    sentence = re.split(r"[.!?;](?:\s|$)", line)[0].strip(" \"'`*_“”‘’,:")
    phrase = " ".join(_LEADS.sub("", sentence).split())
    if phrase.lower() in _NOTHING or not any(letter.isalpha() for letter in phrase):
        return ""
    words = phrase.split()
    if not words[0][1:2].isupper():  # no abbreviation
        words[0] = words[0][0].lower() + words[0][1:]
    bare = words[0] not in _PREPOSITIONS
    if len(words) > longest:
        words = " ".join(words[:longest]).rsplit(",", 1)[0].split()
    while words and words[-1].strip(",").lower() in _LOOSE_ENDS:
        words.pop()
    kept = " ".join(words).rstrip(",")
    return f"with {kept} in the background" if bare and kept else kept
