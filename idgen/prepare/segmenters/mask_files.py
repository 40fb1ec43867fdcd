"""Masks that the user made."""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import numpy as np
import torch

from idgen.errors import UserError
from idgen.fingerprint import file_digest, fingerprint_fields
from idgen.masks import HALF, Mask
from idgen.prepare.folder_contents import visible_entries
from idgen.prepare.photos import Photo
from idgen.prepare.segmenters.finding import Find, Finding
from idgen.prepare.segmenters.mask_pictures import read_matte
from idgen.prepare.segmenters.segmenter import Segment, Segmenter

_RULE = fingerprint_fields(segmenter="mask files", version=2, threshold=HALF)
_SUFFIXES = tuple("." + "".join(letters) for letters in product("pP", "nN", "gG"))


class MaskFiles(Segmenter):
    """Takes the user's masks, found by the photo's name.

    The mask of `dog/00.jpg` is `dog/00.jpg.png` or `dog/00.png` in the folder, or else `00.jpg.png`
    or `00.png`: an image of the photo's size (as seen, that is after EXIF rotation), white on the
    subject, black elsewhere. Where a mask has transparency, its alpha channel is the mask. Soft
    edges are kept.
    """

    def __init__(self, folder: Path, others: Segmenter | None = None) -> None:
        """Names the folder; `check` looks for it.

        Args:
            folder: The folder of masks.
            others: Finds the subject of photos that have no mask there; None if all have one.
        """
        self.folder = Path(folder).expanduser()
        self.others = others

    @property
    def identity(self) -> str:
        """Hash of how files become masks, and of the other segmenter; `key` has the content."""
        others = "" if self.others is None else self.others.identity
        return fingerprint_fields(rule=_RULE, others=others)

    def path(self, photo: Photo) -> Path | None:
        """The photo's mask file, or None if there is none."""
        return next(self._fitting(photo), None)

    def _fitting(self, photo: Photo) -> Iterator[Path]:
        """Files that are named as the photo's mask, the first of which is taken."""
        folders, names = (self.folder / photo.subject, self.folder), (photo.name, photo.path.stem)
        paths = (folder / f"{n}{end}" for folder in folders for n in names for end in _SUFFIXES)
        return filter(os.path.isfile, paths)

    def _check_alone(self, path: Path, photo: Photo, photos: Sequence[Photo]) -> None:
        """Refuses another mask of that photo, and of no other, beside the one that is taken."""
        of_others = {p for other in photos if other is not photo for p in self._fitting(other)}
        others = [
            other.name
            for other in self._fitting(photo)
            # Where letters' cases do not count, one file goes by several names.
            if other.parent == path.parent and other not in of_others and not other.samefile(path)
        ]
        if others:
            names = ", ".join(repr(name) for name in (path.name, *others))
            raise UserError(f"{photo.name!r} has several masks in {path.parent}: {names}; keep one")

    def _path(self, photo: Photo) -> Path:
        path = self.path(photo)
        if path is None:
            raise self._missing([photo])
        return path

    def _missing(self, photos: Sequence[Photo]) -> UserError:
        names = ", ".join(repr(f"{photo.path.stem}.png") for photo in photos)
        untaken = self._untaken(photos)
        there = f" (no photo takes {', '.join(untaken)} there)" if untaken else ""
        return UserError(
            f"masks missing in {self.folder}: {names}{there}; draw them, name them "
            "so, or set the segmenter's 'others' to what finds the subject there"
        )

    def _untaken(self, photos: Sequence[Photo]) -> list[str]:
        """Files of the folders of masks that are named after no file beside these photos."""
        # All of their folders: `photos` may be some of a set.
        beside = [path for photo in photos for path in photo.path.parent.iterdir()]
        known = {name for path in beside for name in (path.name, path.stem)}
        subjects = sorted({photo.subject for photo in photos})
        folders = [self.folder, *(self.folder / subject for subject in subjects)]
        return [
            repr(path.relative_to(self.folder).as_posix())
            for folder in folders
            if os.path.isdir(folder)
            for path in visible_entries(folder)
            if os.path.isfile(path) and not (path.suffix in _SUFFIXES and path.stem in known)
        ]

    def key(self, photo: Photo) -> str:
        """Hash of the mask file's content; of a photo without one, the other segmenter's key."""
        if self.others is not None and self.path(photo) is None:
            return self.others.key(photo)
        path = self._path(photo)
        try:
            return fingerprint_fields(rule=_RULE, content=file_digest(path))
        except OSError as error:
            raise UserError(f"cannot read the mask {path} ({error.strerror})") from error

    def check(self, photos: Sequence[Photo]) -> None:
        """Checks that every photo has a good mask of its own, or can have the other segmenter's.

        Raises:
            UserError: If there is no such folder, masks are missing, two photos would share one,
                a photo has several in one folder, or some are damaged, of another size, empty or
                full.
        """
        if not os.path.isdir(self.folder):
            raise UserError(f"no folder of masks {self.folder}; give one with a mask a photo")
        missing = [photo for photo in photos if self.path(photo) is None]
        if missing and self.others is None:
            raise self._missing(missing)
        if missing and self.others is not None:
            if untaken := self._untaken(missing):
                warnings.warn(
                    f"no photo takes {', '.join(untaken)} in {self.folder}: the mask of 00.jpg is "
                    "called 00.png; photos without one are left to the other segmenter",
                    stacklevel=2,
                )
            self.others.check(missing)
        owners: dict[Path, Photo] = {}
        for photo in photos:
            if (path := self.path(photo)) is not None:
                first = owners.setdefault(path, photo)
                if first is not photo:
                    raise shared_mask(path, first, photo)
        faults = []
        for path, photo in owners.items():
            try:
                self._check_alone(path, photo, photos)
                self._read(photo)
            except UserError as error:
                faults.append(str(error))
        if faults:
            raise UserError("; ".join(faults))

    def check_foreign(self, photo: Photo, subject: str) -> None:
        """Refuses a mask that fits a reference photo from elsewhere by its name alone."""
        path = self.path(photo)
        if path is None:
            if self.others is not None:
                self.others.check_foreign(photo, subject)
            return
        if photo.subject == subject or path.parent.name != photo.subject:
            own = self.folder / photo.subject / path.name
            also = "" if photo.subject == subject else f", or name its own mask {str(own)!r}"
            raise UserError(
                f"the reference {str(photo.path)!r} is no photo of the trained subject, but the "
                f"mask {path} fits its name: give it another name{also}"
            )

    @contextmanager
    def loaded(self, device: torch.device, photos: Sequence[Photo]) -> Iterator[Segment]:
        """Loads the other segmenter, if one of the photos needs it."""
        if self.others is None or all(self.path(photo) is not None for photo in photos):
            yield self._read
            return
        with self.others.loaded(device, photos) as segment:
            yield lambda photo: segment(photo) if self.path(photo) is None else self._read(photo)

    @contextmanager
    def finding(self, device: torch.device, photos: Sequence[Photo]) -> Iterator[Find]:
        """The same, with soft edges and the files' names."""
        if self.others is None or all(self.path(photo) is not None for photo in photos):
            yield self._found
            return
        with self.others.finding(device, photos) as find:
            yield lambda photo: find(photo) if self.path(photo) is None else self._found(photo)

    def _read(self, photo: Photo) -> Mask:
        return np.asarray(read_matte(self._path(photo), photo) >= HALF)

    def _found(self, photo: Photo) -> Finding:
        path = self._path(photo)
        matte = read_matte(path, photo)
        return Finding(matte >= HALF, f"{path.parent.name}/{path.name}", matte=matte)


def shared_mask(mask: Path, first: Photo, second: Photo) -> UserError:
    """The error where two photos would have the same mask file."""
    here, there = (photo.subject for photo in (first, second))
    names = [f"{here}/{first.path.stem}.png", f"{there}/{second.path.stem}.png"]
    if here == there:
        names = [f"{first.name}.png", f"{second.name}.png"]
    return UserError(
        f"{first.name!r} and {second.name!r} would share the mask {mask}; name the masks "
        f"{names[0]!r} and {names[1]!r}"
    )
