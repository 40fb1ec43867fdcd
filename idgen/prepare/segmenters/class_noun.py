"""What each subject is: the noun that text models look for in its photos."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from idgen.dreambench import read_class_nouns
from idgen.errors import UserError
from idgen.placeholders import check_words
from idgen.prepare.kohya_folders import kohya_folder
from idgen.prepare.photos import Photo
from idgen.texts import read_text

NOUN_FILE = "class_noun.txt"
"""The file's name; it lies in the photos' folder and holds the noun, such as `dog`."""


@dataclass(frozen=True)
class ClassNouns:
    """Where a subject's class noun is looked up, the nearest place first.

    `class_noun.txt` beside the photos, then the table by the name of the photos' folder, then that
    name itself where it is one of kohya's (`10_sks dog`), then the noun for all.

    Attributes:
        noun: Of all subjects that have none of their own.
        table: A file of lines `subject,noun`, such as DreamBench's `prompts_and_classes.txt`.
    """

    noun: str | None = None
    table: Path | None = None

    def of(self, photo: Photo) -> str:
        """The class noun of a photo's subject; a UserError if there is none."""
        named = self.own(photo) or self.noun
        if named is None:
            folder = photo.path.absolute().parent
            raise UserError(
                f"no class noun for the photos in {str(folder)!r}: write it, such as dog, in "
                f"{NOUN_FILE} there, or set the segmenter's class_noun"
            )
        return named

    def own(self, photo: Photo) -> str | None:
        """The class noun that is given for this photo's folder; None if none is."""
        listed = {} if self.table is None else read_noun_table(self.table)
        if photo.subject in listed:
            check_words(listed[photo.subject], f"{self.table}: {photo.subject}:")
        folder = photo.path.absolute().parent
        kohya = kohya_folder(folder)
        named = noun_beside(folder) or listed.get(photo.subject)
        return named or (None if kohya is None else kohya.noun)


def noun_beside(folder: Path) -> str | None:
    """What `class_noun.txt` in a folder of photos says; None where there is none.

    Raises:
        UserError: If it cannot be read, or does not hold one line of plain words.
    """
    path = folder / NOUN_FILE
    if not os.path.lexists(path):
        return None
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if len(lines) != 1:
        raise UserError(f"{path} has to hold one line, such as dog; it holds {len(lines)}")
    check_words(lines[0], f"{path}:")
    return lines[0]


def read_noun_table(path: Path) -> Mapping[str, str]:
    """The noun of each subject in a table of lines `subject,noun`.

    Lines of another form, such as headings and prompts, are passed over: DreamBench's file holds
    both.

    Raises:
        UserError: If it cannot be read, or holds no such line.
    """
    return _parsed(path, read_text(path.expanduser()))


@lru_cache(maxsize=8)
def _parsed(path: Path, text: str) -> Mapping[str, str]:
    named = read_class_nouns(text.splitlines())
    if not named:
        raise UserError(f"{path} names no subject's class: its lines have to be 'my_dog,dog'")
    return named
