"""The photos of a subject that can be used: as images, and by what finds the subject in them."""

import warnings
from collections.abc import Container, Sequence
from pathlib import Path

from idgen.errors import UserError
from idgen.prepare.photos import Photo, find_photos
from idgen.prepare.segmenters.segmenter import Segmenter


def usable_photos(
    folder: Path, segmenter: Segmenter, checked: Container[str], skip_bad: bool
) -> tuple[list[Photo], list[str]]:
    """Finds the photos that can be used: all of them, unless bad ones may be left out.

    Args:
        folder: The subject's photos.
        segmenter: Says which of them can have a mask.
        checked: Digests of photos that were decoded before and need not be again.
        skip_bad: Whether a bad one is left out; otherwise one stops its subject.

    Returns:
        At least one photo, sorted by name, each of which can have a mask; and a line on each that
        is left out.

    Raises:
        UserError: If there is none, or one is bad and may not be left out.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        photos = find_photos(folder, checked, skip_bad)
        usable, faults = _maskable(photos, segmenter) if skip_bad else (photos, [])
        if usable:
            segmenter.check(usable)
    # What a segmenter says of its folder, it says for each photo that it is asked about.
    notes = [*dict.fromkeys(str(warning.message) for warning in caught), *faults]
    if not usable:
        raise UserError(f"no photo in {folder} can have a mask; " + "; ".join(notes))
    return usable, [f"{folder}: {note}" for note in notes]


def _maskable(photos: Sequence[Photo], segmenter: Segmenter) -> tuple[list[Photo], list[str]]:
    """The photos that can have a mask, and a line on those that cannot for the same reason."""
    maskable: list[Photo] = []
    faults: dict[str, list[str]] = {}
    for photo in photos:
        try:
            segmenter.check([photo])
            maskable.append(photo)
        except UserError as error:
            faults.setdefault(str(error), []).append(repr(photo.name))
    return maskable, [f"left out {', '.join(names)}: {why}" for why, names in faults.items()]
