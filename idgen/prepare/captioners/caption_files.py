"""Captions that the user wrote: `NAME.txt` beside a photo, as kohya's tools have it."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from idgen.errors import UserError
from idgen.prepare.captioners.captioner import USUAL_PROMPT, with_scene
from idgen.prepare.photos import Photo

_SUFFIXES = (".txt", ".TXT")


class SheetCaption(NamedTuple):
    """A caption as the contact sheet shows it.

    Attributes:
        text: The prompt, which the user may edit.
        source: Where it is from.
        file: The name of the text file that an edited one goes into.
    """

    text: str
    source: str
    file: str


def caption_path(photo: Photo, photos: Sequence[Photo]) -> Path | None:
    """The text file of a photo: of `00.jpg`, `00.jpg.txt` or else `00.txt`; None without one.

    Args:
        photo: The photo.
        photos: All photos of its subject.

    Raises:
        UserError: If another photo would take the same file.
    """
    folder = photo.path.parent
    for name in (photo.name, photo.path.stem):
        for suffix in _SUFFIXES:
            path = folder / f"{name}{suffix}"
            if not os.path.isfile(path):
                continue
            if name != photo.name and (others := _namesakes(photo, photos)):
                raise UserError(
                    f"{path} is the caption of {photo.name!r} and of {others[0]!r} alike: name it "
                    f"'{photo.name}.txt' or '{others[0]}.txt'"
                )
            return path
    return None


def _namesakes(photo: Photo, photos: Sequence[Photo]) -> list[str]:
    """Photos of the same name but for the suffix, that have no text file of their full name."""
    return [
        other.name
        for other in photos
        if other.name != photo.name
        and other.path.stem == photo.path.stem
        and not os.path.isfile(other.path.with_name(f"{other.name}.txt"))
    ]


def read_caption_file(path: Path) -> str:
    """A text file's words: its lines that are not blank, joined by spaces.

    Args:
        path: UTF-8, with or without a byte order mark.

    Raises:
        UserError: If it cannot be read, is no UTF-8, or is empty.
    """
    try:
        words = path.read_text(encoding="utf-8-sig").split()
    except UnicodeDecodeError as error:
        raise UserError(f"the caption {path} is no UTF-8 text: save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"cannot read the caption {path} ({error.strerror})") from error
    if not words:
        raise UserError(f"the caption {path} is empty: write one, or remove the file")
    return " ".join(words)


def shown_caption(photo: Photo, photos: Sequence[Photo], phrase: str = "") -> SheetCaption:
    """What the contact sheet shows of a photo's caption.

    A file that cannot be used is told of there; training refuses it if captions are on.

    Args:
        photo: The photo.
        photos: All photos of its subject.
        phrase: What the captioner says of its scene, if anything.
    """
    stems = Counter(other.path.stem for other in photos)
    file = f"{photo.path.stem if stems[photo.path.stem] == 1 else photo.name}.txt"
    made = SheetCaption(
        with_scene(USUAL_PROMPT, phrase), "by the captioner" if phrase else "", file
    )
    try:
        path = caption_path(photo, photos)
        if path is None:
            return made
        return SheetCaption(read_caption_file(path), f"from {path.name}", path.name)
    except UserError as error:
        return made._replace(source=str(error))
