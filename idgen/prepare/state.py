"""What a prepared subject should hold, and what it holds."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from idgen.errors import UserError
from idgen.fingerprint import file_digest, fingerprint_fields
from idgen.masks import Mask
from idgen.prepare.features import FeatureKeys, FeatureRecipe
from idgen.prepare.inpainters.inpainter import Inpainter
from idgen.prepare.photos import Photo
from idgen.prepare.segmenters.segmenter import Segmenter
from idgen.prepare.sheet.page import PAGE_VERSION, page_key
from idgen.prepare.sheet.picture import SHEET_VERSION
from idgen.prepare.sheet.review import REVIEW_VERSION
from idgen.prepare.store import (
    CONTACT_PAGE,
    CONTACT_SHEET,
    INDEX,
    KINDS,
    Kind,
    Store,
    is_whole_png,
    png_key,
    read_png,
)
from idgen.prepare.subject import Index, LeftOut, PreparedFile
from idgen.prepare.views import Frame, frame_of, show, show_mask

_LONGEST_NAME = 255
"""Bytes of a file's name, on the usual file systems."""
_PART = {"masks": "mask", "backgrounds": "background", "features": "features"}


@dataclass(frozen=True)
class Target:
    """What has to exist for one photo.

    Attributes:
        photo: The photo.
        name: Its files' name, without suffix.
        mask_key: The key its mask carries.
        background_key: The key its background carries.
        features: The keys of its features.
    """

    photo: Photo
    name: str
    mask_key: str
    background_key: str
    features: FeatureKeys

    def key(self, kind: Kind) -> str:
        """The key that its file of a kind carries."""
        keys = {"masks": self.mask_key, "backgrounds": self.background_key}
        return keys.get(kind, self.features.key)

    def file_name(self, kind: Kind) -> str:
        """The name of its file of a kind, without suffix."""
        return self.features.key if kind == "features" else self.name


def list_targets(
    photos: list[Photo], segmenter: Segmenter, inpainter: Inpainter, recipe: FeatureRecipe
) -> list[Target]:
    """What has to exist for some photos, in their order.

    Raises:
        UserError: If a model or a mask file is missing.
    """
    targets = []
    for photo, name in zip(photos, file_names(photos), strict=True):
        mask = mask_key(photo.digest, segmenter.key(photo))
        background = fingerprint_fields(mask=mask, inpainter=inpainter.identity)
        features = recipe.keys(photo.digest, mask, background)
        targets.append(Target(photo, name, mask, background, features))
    return targets


def mask_key(digest: str, segmenter_key: str) -> str:
    """The key of a photo's mask.

    Args:
        digest: The photo's.
        segmenter_key: The segmenter's key of the photo.
    """
    return fingerprint_fields(photo=digest, segmenter=segmenter_key)


@dataclass
class State:
    """What should be and what is, of one prepared subject.

    Attributes:
        store: Its folder.
        recipe: What decides the features.
        targets: One a photo that is not left out, sorted by the photo's name.
        index: The index as it is, if there is one.
        left_out: Photos that are no targets any more, sorted by name.
        photos: All of them, those that are left out included.
        held: Of which keys there are files, whatever their names.
        ours: Files that are as they were made.
    """

    store: Store
    recipe: FeatureRecipe
    targets: list[Target]
    index: Index | None
    left_out: list[LeftOut] = field(default_factory=list)
    photos: list[Photo] = field(init=False)
    held: dict[Kind, dict[str, Path]] = field(default_factory=dict)
    ours: set[Path] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Notes the photos."""
        self.photos = [target.photo for target in self.targets]

    def path(self, target: Target, kind: Kind) -> Path:
        """Where a photo's file of a kind belongs."""
        return self.store.path(kind, target.file_name(kind))

    def lacking(self, kind: Kind) -> list[Target]:
        """The photos whose file of a kind is missing or stale."""
        return [target for target in self.targets if target.key(kind) not in self.held[kind]]

    def keep(self, target: Target, kind: Kind, content: bytes) -> None:
        """Writes a photo's file of a kind."""
        path = self.path(target, kind)
        self.store.write(path, content)
        self.held[kind][target.key(kind)] = path

    def take_stock(self) -> None:
        """Looks which files there are.

        Raises:
            UserError: If one that would be replaced was changed by hand, or is not ours.
        """
        self.ours = set()
        for kind in KINDS:
            self.held[kind] = self._files(kind)

    def _files(self, kind: Kind) -> dict[str, Path]:
        entries = self.index.photos if self.index else []
        recorded = {file.key: file.sha256 for p in entries for file in [_file(p, kind)]}
        belongs = {self.path(target, kind) for target in self.targets}
        wanted = {target.key(kind) for target in self.targets}
        held: dict[str, Path] = {}
        for file in self.store.files(kind):
            if file.key is not None and _as_made(file.path, recorded.get(file.key), kind):
                if file.path in belongs or file.key not in held:
                    held[file.key] = file.path
                self.ours.add(file.path)
            # What cannot be decoded is damage, not work, and is made anew.
            elif (
                kind != "features"
                and (file.path in belongs or file.key in wanted)
                and is_whole_png(file.path)
            ):
                raise UserError(
                    f"{str(file.path)!r} was changed by hand or not made by idgen: move it away "
                    "(masks of your own go in a folder of their own, given to MaskFiles), then "
                    "run idgen prepare again"
                )
        return held

    def fault(self, target: Target, kind: Kind, reason: str) -> LeftOut:
        """What is noted where a photo's file of a kind cannot be made.

        It holds for the same key; of a mask, which is found by looking at the whole set, for the
        same photos beside it too.
        """
        key = target.key(kind)
        if kind == "masks":
            digests = sorted(photo.digest for photo in self.photos)
            key = fingerprint_fields(mask=key, beside=" ".join(digests))
        return LeftOut(target.photo.name, target.photo.digest, key, reason)

    def known_faults(self) -> list[LeftOut]:
        """What an earlier run found of these photos, and would be found again."""
        noted = {(p.digest, p.key): p.reason for p in self.index.left_out} if self.index else {}
        return [
            replace(fault, reason=reason)
            for target in self.targets
            for fault in (self.fault(target, kind, "") for kind in KINDS)
            if (reason := noted.get((fault.digest, fault.key))) is not None
        ]

    def leave_out(self, faults: Sequence[LeftOut]) -> None:
        """Goes on without some of the photos; what was made of them goes when all is done.

        Raises:
            UserError: If none is left.
        """
        gone = {fault.digest for fault in faults}
        if all(target.photo.digest in gone for target in self.targets):
            raise UserError(
                f"no photo in {self.photos[0].path.parent} can be used; "
                + "; ".join(map(str, faults))
            )
        for target in self.targets:
            if target.photo.digest in gone:
                files = (self.held[kind].get(target.key(kind)) for kind in KINDS)
                self.ours |= {path for path in files if path is not None}
        self.targets = [target for target in self.targets if target.photo.digest not in gone]
        self.left_out = sorted([*self.left_out, *faults], key=lambda photo: photo.name)

    def arrange(self) -> None:
        """Gives the files the names that their photos have now."""
        for kind in KINDS:
            places = {target.key(kind): self.path(target, kind) for target in self.targets}
            self.store.arrange(
                {
                    path: places[key]
                    for key, path in self.held[kind].items()
                    if key in places and path != places[key]
                }
            )
        self.take_stock()

    def tidy(self) -> None:
        """Removes what no photo needs any more; spares what is not as it was made."""
        needed = {self.path(target, kind) for target in self.targets for kind in KINDS}
        self.store.remove(self.ours - needed)

    def missing(self) -> list[str]:
        """Names what is missing or stale, one short text each."""
        found = self.missing_files(KINDS)
        misplaced = any(
            self.held[kind].get(target.key(kind), self.path(target, kind))
            != self.path(target, kind)
            for kind in KINDS
            for target in self.targets
        )
        if misplaced or self._indexed() != self._to_index():
            found.append(INDEX)
        return found + self.missing_sheets()

    def missing_files(self, kinds: Sequence[Kind]) -> list[str]:
        """Names the photos' files of some kinds that are missing or stale."""
        return [
            f"{_PART[kind]} of {target.photo.name!r}"
            for kind in kinds
            for target in self.lacking(kind)
        ]

    def missing_sheets(self) -> list[str]:
        """Which of the contact sheet's two files are missing or stale."""
        key, folder = self.sheet_key(), self.store.folder
        keys = {
            CONTACT_SHEET: png_key(folder / CONTACT_SHEET),
            CONTACT_PAGE: page_key(folder / CONTACT_PAGE),
        }
        return [name for name, carried in keys.items() if carried != key]

    def _to_index(self) -> tuple[object, ...]:
        rows = [
            [t.photo.name, t.photo.digest]
            + [text for kind in KINDS for text in (self.path(t, kind).name, t.key(kind))]
            for t in self.targets
        ]
        names = [view.name for view in self.recipe.views]
        return rows, names, self.recipe.resolution, self.left_out

    def _indexed(self) -> tuple[object, ...] | None:
        if self.index is None:
            return None
        rows = [
            [p.name, p.digest]
            + [text for k in KINDS for f in [_file(p, k)] for text in (Path(f.file).name, f.key)]
            for p in self.index.photos
        ]
        return rows, self.index.views, self.index.resolution, self.index.left_out

    def sheet_key(self) -> str:
        """The key that the contact sheet carries: all that its warnings are made of counts."""
        rows = [(t.photo.name, t.mask_key, t.background_key, t.features.key) for t in self.targets]
        return fingerprint_fields(
            sheet=SHEET_VERSION, page=PAGE_VERSION, review=REVIEW_VERSION, rows=json.dumps(rows)
        )

    def mask(self, target: Target) -> Mask:
        """A photo's mask, `H W`, which has to be there."""
        return self._picture(target, "masks") >= 128

    def background(self, target: Target) -> NDArray[np.uint8]:
        """A photo's background, `H W 3`, which has to be there."""
        return self._picture(target, "backgrounds")

    def _picture(self, target: Target, kind: Kind) -> NDArray[np.uint8]:
        """Reads a photo's file of a kind, which may still have an earlier name."""
        key = target.key(kind)
        return read_png(self.held[kind].get(key, self.path(target, kind)), key)

    def views(self, target: Target, image: NDArray[np.uint8]) -> Tensor:
        """All views of a photo, or of its background: `V 3 R R` in [-1, 1]."""
        frames = self._frames(target, self.mask(target))
        return torch.stack([show(image, frame, self.recipe.resolution) for frame in frames])

    def subject_masks(self, target: Target, height: int, width: int) -> Tensor:
        """The subject's share of each place in all views of a photo, `V 1 h w` in [0, 1]."""
        mask = self.mask(target)
        frames = self._frames(target, mask)
        return torch.stack([show_mask(mask, frame, height, width) for frame in frames])

    def _frames(self, target: Target, mask: Mask) -> list[Frame]:
        return [frame_of(view, mask, target.photo.digest) for view in self.recipe.views]


def _as_made(path: Path, digest: str | None, kind: Kind) -> bool:
    """Whether a file that carries a key is what was written under it."""
    if digest is None:
        return kind == "features" or is_whole_png(path)
    try:
        return file_digest(path) == digest
    except FileNotFoundError:
        return False  # another run has just moved it


def _file(photo: object, kind: Kind) -> PreparedFile:
    file: PreparedFile = getattr(photo, _PART[kind])
    return file


def file_names(photos: list[Photo]) -> list[str]:
    """Each photo's name without its suffix, unless two differ only in that: then all keep it.

    A name that is too long for a file with a suffix of ours gives way to the photo's digest.
    """
    stems = [photo.path.stem for photo in photos]
    alike = len({stem.casefold() for stem in stems}) < len(stems)
    names = [photo.name for photo in photos] if alike else stems
    return [
        photo.digest if len(os.fsencode(f"{name}.png")) > _LONGEST_NAME else name
        for photo, name in zip(photos, names, strict=True)
    ]
