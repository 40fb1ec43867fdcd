"""Folders as kohya's trainers have them: `10_sks dog`, in a root that holds nothing else."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from idgen.errors import UserError
from idgen.prepare.folder_contents import visible_entries

_NAME = re.compile(r"(?P<repeats>[1-9][0-9]{0,2})_(?P<words>\S.*)")


class KohyaFolder(NamedTuple):
    """What such a folder's name says.

    Attributes:
        path: The folder.
        repeats: How often an epoch shows each of its photos.
        token: The rare word; None where there is but one word.
        noun: The class noun.
    """

    path: Path
    repeats: int
    token: str | None
    noun: str

    @property
    def said(self) -> str:
        """In one line, what was taken from the name, and what repeats are here."""
        token = "" if self.token is None else f", token {self.token!r}"
        return (
            f"{self.path.name!r} is a folder as kohya's trainers have it: noun {self.noun!r}{token}"
            f", {self.repeats} repeats (all photos of a subject come up equally often here; "
            f"trainer.max_steps says how often)"
        )


def kohya_folder(folder: Path) -> KohyaFolder | None:
    """What a folder's name says; None if it is not called so.

    The first word is the token, as kohya's guides have it, and the others the noun: `10_sks dog`.
    """
    match = _NAME.fullmatch(folder.name)
    if match is None:
        return None
    first, *others = match["words"].split()
    noun = " ".join(others) or first
    return KohyaFolder(folder, int(match["repeats"]), first if others else None, noun)


def kohya_root(folder: Path) -> list[KohyaFolder]:
    """The subjects of a kohya root; empty if the folder is none.

    Raises:
        UserError: If the folder cannot be read.
    """
    try:
        entries = visible_entries(folder)
    except UserError:
        return []
    named = [kohya_folder(path) for path in entries if os.path.isdir(path)]
    found = [one for one in named if one is not None]
    whole = bool(found) and len(found) == len(entries)
    return found if whole else []
