"""Masks that lie beside their photos, told by their names."""

import re
from collections.abc import Iterable

_NAME = re.compile(
    r"(?P<of>.+)[._-](?:mask|masklabel|matte|alpha)\.(?:png|jpe?g|webp|tiff?|bmp)", re.IGNORECASE
)


def masks_beside(names: Iterable[str]) -> dict[str, list[str]]:
    """Which files of a folder are masks of which others.

    The mask of `00.jpg` is called `00` or `00.jpg`, then `mask`, `masklabel`, `matte` or `alpha`
    after a point, a dash or an underscore: `00.mask.png`, `00_mask.png`, `00-masklabel.png` (as
    OneTrainer has it). A file called so without its photo is no mask, but a photo.

    Args:
        names: Of the files of one folder.

    Returns:
        For each photo that has masks there, their names, sorted.
    """
    ordered = sorted(names)
    named = {name: of for name in ordered if (of := named_as_mask(name)) is not None}
    photos: dict[str, list[str]] = {}
    for name in ordered:
        if name not in named:
            photos.setdefault(name, []).append(name)
            if (stem := name.rpartition(".")[0]) and stem != name:
                photos.setdefault(stem, []).append(name)
    found: dict[str, list[str]] = {}
    for mask, of in named.items():
        for photo in photos.get(of, []):
            found.setdefault(photo, []).append(mask)
    return found


def named_as_mask(name: str) -> str | None:
    """What a file is the mask of, by its name; None if it is not called a mask."""
    match = _NAME.fullmatch(name)
    return None if match is None else match["of"]
