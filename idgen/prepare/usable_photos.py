"""The photos of a subject that can be used: as images, and by what finds the subject in them."""

import warnings
from collections.abc import Container
from pathlib import Path

from idgen.errors import UserError
from idgen.prepare.photos import FEWEST, Photo, find_photos
from idgen.prepare.segmenter import Segmenter


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
        At least two photos, sorted by name, each of which can have a mask; and a line on each
        that is left out.

    Raises:
        UserError: If there are fewer, or one is bad and may not be left out.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        photos = find_photos(folder, checked, skip_bad)
    notes = [f"{folder}: {warning.message}" for warning in caught]
    if not skip_bad:
        segmenter.check(photos)
        return photos, notes
    usable: list[Photo] = []
    faults: dict[str, list[str]] = {}
    for photo in photos:
        try:
            segmenter.check([photo])
            usable.append(photo)
        except UserError as error:
            faults.setdefault(str(error), []).append(repr(photo.name))
    reasons = [f"left out {', '.join(names)}: {reason}" for reason, names in faults.items()]
    if len(usable) < FEWEST:
        found = [str(warning.message) for warning in caught]
        raise UserError(
            f"fewer than {FEWEST} photos in {folder} can have a mask; "
            + "; ".join([*found, *reasons])
        )
    segmenter.check(usable)
    return usable, notes + [f"{folder}: {reason}" for reason in reasons]
