"""What the user already has: a photo's own alpha channel, or a mask beside it."""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from idgen.errors import UserError
from idgen.fingerprint import file_digest, fingerprint_fields
from idgen.masks import HALF, Mask, Matte
from idgen.prepare.masks_beside import masks_beside, named_as_mask
from idgen.prepare.photos import Photo, UnfitPhotoError
from idgen.prepare.segmenters.drawn_or_photo import DrawnOrPhotoSegmenter
from idgen.prepare.segmenters.finding import Find, Finding
from idgen.prepare.segmenters.mask_pictures import is_coloured, read_matte
from idgen.prepare.segmenters.segmenter import Segment, Segmenter

_FILE_RULE = fingerprint_fields(segmenter="mask beside", version=1, threshold=HALF)
_ALPHA_RULE = fingerprint_fields(segmenter="alpha", version=1, threshold=HALF)
_LEAST = 0.01
"""Of a photo, this part at least is transparent, and this part opaque, if its alpha is a mask.

Rounded corners of a picture of a screen are less.
"""


class OwnMasks(Segmenter):
    """Lays what the user already has over another segmenter, photo by photo.

    A mask that the other segmenter has as a file (`MaskFiles`) comes first, then a file beside the
    photo (`masks_beside`), then the photo's own alpha channel; all else is the other's.
    """

    def __init__(self, others: Segmenter) -> None:
        """Names the segmenter of photos that bring no mask."""
        self.others = others
        self._mattes: dict[str, bool] = {}

    @property
    def identity(self) -> str:
        """The other segmenter's: where the user has nothing, nothing is changed."""
        return self.others.identity

    @property
    def title(self) -> str:
        """The other segmenter's."""
        return self.others.title

    def path(self, photo: Photo) -> Path | None:
        """The photo's mask file, or None if there is none."""
        return self.others.path(photo) or self._beside(photo)

    def _beside(self, photo: Photo) -> Path | None:
        """The mask beside a photo; a UserError if there are several."""
        folder = photo.path.parent
        if not os.path.isdir(folder):  # a drawing's
            return None
        found = masks_beside(os.listdir(folder)).get(photo.name, [])
        if len(found) > 1:
            raise UserError(
                f"{photo.name!r} in {folder} has several masks: {', '.join(map(repr, found))}; "
                "keep one"
            )
        return folder / found[0] if found else None

    def _has_alpha(self, photo: Photo) -> bool:
        """Whether a photo's alpha channel is a mask; remembered, for it has to be decoded."""
        if photo.digest not in self._mattes:
            alpha = photo.alpha()
            self._mattes[photo.digest] = alpha is not None and _says_something(alpha, photo)
        return self._mattes[photo.digest]

    def _is_own(self, photo: Photo) -> bool:
        if self.others.path(photo) is not None:
            return False
        return self._beside(photo) is not None or self._has_alpha(photo)

    @property
    def is_parallel(self) -> bool:
        """As the other segmenter is."""
        return self.others.is_parallel

    def key(self, photo: Photo) -> str:
        """Hash of the mask beside the photo, or of the rule for alpha; else the other's key."""
        if not self._is_own(photo):
            return self.others.key(photo)
        path = self._beside(photo)
        if path is None:
            return _ALPHA_RULE  # the photo's content is in the mask's key anyhow
        try:
            return fingerprint_fields(rule=_FILE_RULE, content=file_digest(path))
        except OSError as error:
            raise UserError(f"cannot read the mask {path} ({error.strerror})") from error

    def check(self, photos: Sequence[Photo]) -> None:
        """Checks the masks that the user has, and with the other segmenter the other photos.

        Raises:
            UserError: If a mask is damaged, of another size, empty or full, a photo has several,
                two photos share one, a photo is wholly transparent, or a mask has no photo.
        """
        owners: dict[Path, Photo] = {}
        faults = []
        for photo in photos:
            try:
                self._check(photo, owners)
            except UserError as error:
                faults.append(str(error))
        if faults:
            raise UserError("; ".join(faults))
        if rest := [photo for photo in photos if not self._is_own(photo)]:
            self.others.check(rest)

    def _check(self, photo: Photo, owners: dict[Path, Photo]) -> None:
        if self.others.path(photo) is not None:
            return
        path = self._beside(photo)
        if path is None:
            self._check_stray(photo)
            self._has_alpha(photo)
            return
        first = owners.setdefault(path, photo)
        if first.digest != photo.digest:
            raise UserError(
                f"{first.name!r} and {photo.name!r} would share the mask {path}: name the masks "
                f"'{first.name}.mask.png' and '{photo.name}.mask.png'"
            )
        if is_coloured(path):
            raise UserError(
                f"{path} is named like the mask of {photo.name!r} but is a picture in colours: "
                "rename it if it is a photo"
            )
        read_matte(path, photo)

    def _check_stray(self, photo: Photo) -> None:
        """Refuses a black and white picture that is called a mask and has no photo."""
        if (of := named_as_mask(photo.name)) is None:
            return
        levels = photo.pixels()
        extreme = (levels.max(axis=2) < 16) | (levels.min(axis=2) > 239)
        if extreme.mean() > 0.98:
            raise UserError(
                f"{str(photo.path)!r} is a mask, and there is no photo {of!r} beside it: rename it "
                "after its photo, or remove it"
            )

    def check_foreign(self, photo: Photo, subject: str) -> None:
        """The other segmenter's, unless the photo brings its mask."""
        if not self._is_own(photo):
            self.others.check_foreign(photo, subject)

    @contextmanager
    def loaded(self, device: torch.device, photos: Sequence[Photo]) -> Iterator[Segment]:
        """Loads the other segmenter, if one of the photos needs it."""
        if photos and all(self._is_own(photo) for photo in photos):
            # For drawings, which are not among the photos, the other one is loaded when asked.
            yield lambda photo: self._segment_now(photo, device, photos)
            return
        with self.others.loaded(device, photos) as segment:
            yield lambda photo: self._mask(photo) if self._is_own(photo) else segment(photo)

    def _segment_now(self, photo: Photo, device: torch.device, photos: Sequence[Photo]) -> Mask:
        if self._is_own(photo):
            return self._mask(photo)
        with self.others.loaded(device, photos) as segment:
            return segment(photo)

    @contextmanager
    def finding(self, device: torch.device, photos: Sequence[Photo]) -> Iterator[Find]:
        """The same, with soft edges and what each mask was taken from."""
        if all(self._is_own(photo) for photo in photos):
            yield self._found
            return
        with self.others.finding(device, photos) as find:
            yield lambda photo: self._found(photo) if self._is_own(photo) else find(photo)

    def _mask(self, photo: Photo) -> Mask:
        return self._found(photo).mask

    def _found(self, photo: Photo) -> Finding:
        path = self._beside(photo)
        if path is not None:
            matte, source = read_matte(path, photo), path.name
        else:
            alpha = photo.alpha()
            assert alpha is not None  # as `_is_own` says
            matte, source = alpha, "the photo's own alpha channel"
        return Finding(np.asarray(matte >= HALF), source, matte=matte)


def _says_something(alpha: Matte, photo: Photo) -> bool:
    """Whether an alpha channel `H W` tells a subject from its ground.

    Raises:
        UnfitPhotoError: If all of the photo is transparent.
    """
    is_one_value = alpha.min() == alpha.max()
    if alpha.max() == 0 or (alpha.max() < HALF and not is_one_value):
        what = "wholly transparent" if alpha.max() == 0 else "nowhere more than half opaque"
        raise UnfitPhotoError(f"{photo.name!r} is {what}: give it without its alpha channel")
    transparent = float((alpha < HALF).mean())
    if transparent >= _LEAST and 1 - transparent >= _LEAST:
        return True
    if is_one_value and alpha.max() < 255:
        warnings.warn(
            f"the alpha channel of {photo.name!r} is {alpha.max()} of 255 everywhere and is no "
            "mask: passed over",
            stacklevel=2,
        )
    return False


def without_own(segmenter: Segmenter) -> Segmenter:
    """What finds the subject of pictures that no user made masks of, and that a backbone drew."""
    inner = segmenter.others if isinstance(segmenter, OwnMasks) else segmenter
    return inner.drawn if isinstance(inner, DrawnOrPhotoSegmenter) else inner
