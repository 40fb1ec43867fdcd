"""What a prepared subject should hold, and what it holds."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from idgen.errors import UserError
from idgen.fingerprint import file_digest, fingerprint_fields
from idgen.masks import HALF, Mask, Matte, Picture
from idgen.prepare.buckets import Size
from idgen.prepare.captioners.caption_files import SheetCaption, shown_caption
from idgen.prepare.captioners.captioner import Captioner
from idgen.prepare.features import FeatureRecipe
from idgen.prepare.index import FEATURES, KINDS, Index, Kind, LeftOut, PreparedFile
from idgen.prepare.inpainters.inpainter import Inpainter
from idgen.prepare.memory import Memory
from idgen.prepare.photos import Photo, UnfitPhotoError
from idgen.prepare.segmenters.finding import Finding
from idgen.prepare.segmenters.prompts import prompts_of
from idgen.prepare.segmenters.segmenter import Segmenter
from idgen.prepare.sheet.page import PAGE_VERSION, page_key
from idgen.prepare.sheet.review import REVIEW_VERSION
from idgen.prepare.store import (
    CONTACT_PAGE,
    INDEX,
    Store,
    caption_bytes,
    caption_key,
    features_bytes,
    is_whole_png,
    png_bytes,
    png_note,
    read_caption,
    read_png,
)
from idgen.prepare.views import Frame, batches, frames_of, show

_TRACE = 16
"""Of a matte's 255: what is less is no trace of the subject."""
_NOUNS = {"masks": "mask", "backgrounds": "background", "captions": "caption"}
_MENDS = {
    "captions": "captions of your own go in NAME.txt beside the photos",
    "masks": "masks of your own go in a folder of their own, given to MaskFiles",
    "backgrounds": "masks of your own go in a folder of their own, given to MaskFiles",
}


@dataclass(frozen=True)
class Target:
    """What has to exist for one photo.

    Attributes:
        photo: The photo.
        keys: The key that its file of each kind carries, of the kinds that it has to have.
    """

    photo: Photo
    keys: Mapping[Kind, str]


def list_targets(
    photos: Sequence[Photo],
    segmenter: Segmenter,
    inpainter: Inpainter,
    captioner: Captioner | None,
    recipe: FeatureRecipe,
) -> list[Target]:
    """What has to exist for some photos; a UserError if a model or a mask file is missing."""
    targets = []
    for photo in photos:
        mask = mask_key(photo.digest, sized_key(photo, segmenter))
        background = fingerprint_fields(mask=mask, inpainter=inpainter.identity)
        size = recipe.size_of(*photo.size())
        keys: dict[Kind, str] = {
            "masks": mask,
            "backgrounds": background,
            "latents": recipe.latents_key(photo.digest, mask, size),
            "embeddings": recipe.embeddings_key(photo.digest, background, size),
        }
        if captioner is not None:
            said = captioner.key(photo)
            keys["captions"] = fingerprint_fields(background=background, captioner=said)
        targets.append(Target(photo, keys))
    return targets


def sized_key(photo: Photo, segmenter: Segmenter) -> str:
    """The segmenter's key of a photo, with the size that a large photo is reduced to."""
    key, size = segmenter.key(photo), photo.size()
    if size == photo.full_size():
        return key
    return fingerprint_fields(segmenter=key, height=size[0], width=size[1])


def mask_key(digest: str, segmenter_key: str) -> str:
    """The key of a mask, by its photo's digest and the segmenter's key of that photo."""
    return fingerprint_fields(photo=digest, segmenter=segmenter_key)


class State:
    """One subject at work: what should be, what is, and what went wrong.

    Attributes:
        store: The prepared subject's folder.
        index: The index as it is, if there is one.
        recipe: What decides the features.
        targets: One a photo that is not left out, sorted by the photo's name.
        photos: All of them, those that are left out included.
        left_out: Photos that are no targets any more, sorted by name.
        held: Of which keys there are files.
        made: Digests of the photos of which anything was made.
        error: What stopped it; other subjects go on.
    """

    def __init__(
        self,
        store: Store,
        index: Index | None,
        recipe: FeatureRecipe,
        targets: Sequence[Target],
        memory: Memory,
    ) -> None:
        """Looks which files there are; `memory` is of the pictures that are read and made.

        Raises:
            UserError: If a file that would be replaced was changed by hand, or is not ours.
        """
        self.store = store
        self.index = index
        self.recipe = recipe
        self.targets = list(targets)
        self.photos = [target.photo for target in targets]
        self.left_out: list[LeftOut] = []
        self.made: set[str] = set()
        self.error: UserError | None = None
        self._faults: list[LeftOut] = []
        self._memory = memory
        self._ours: set[Path] = set()
        self.held: dict[Kind, set[str]] = {kind: self._files(kind) for kind in KINDS}

    @property
    def photos_folder(self) -> Path:
        """Where its photos lie."""
        return self.photos[0].path.parent

    @property
    def name(self) -> str:
        """What the subject is called."""
        return self.photos[0].subject

    def _files(self, kind: Kind) -> set[str]:
        """The keys of a kind's files that are as they were made."""
        photos = self.index.photos if self.index else []
        here = {photo.digest for photo in self.photos}
        indexed = [(p.digest, p.files[kind]) for p in photos if kind in p.files]
        recorded = {file.key: file.sha256 for _, file in indexed}
        belongs = {self.path(target, kind) for target in self.targets if kind in target.keys}
        belongs |= {self.store.path(kind, file.key) for digest, file in indexed if digest in here}
        held = set()
        for path, key in self.store.files(kind).items():
            # One that neither the index nor its name knows may be of an earlier version, and
            # edited: it is left alone.
            named = key is not None and path == self.store.path(kind, key)
            known = named or key in recorded
            if key is not None and known and _as_made(path, recorded.get(key), kind):
                self._ours.add(path)
                if named:
                    held.add(key)
            # What cannot be decoded is damage, not work, and is made anew.
            elif kind not in FEATURES and path in belongs and _is_whole(path, kind):
                raise UserError(
                    f"{str(path)!r} was changed by hand or not made by idgen: move it away "
                    f"({_MENDS[kind]}), then run idgen prepare again"
                )
        return held

    def path(self, target: Target, kind: Kind) -> Path:
        """Where a photo's file of a kind belongs."""
        return self.store.path(kind, target.keys[kind])

    def lacking(self, kind: Kind) -> list[Target]:
        """The photos whose file of a kind is missing or stale."""
        asked = (target for target in self.targets if kind in target.keys)
        return [target for target in asked if target.keys[kind] not in self.held[kind]]

    def keep_mask(self, target: Target, found: Finding) -> None:
        """Writes a photo's mask, and in it what was said of it."""
        key = target.keys["masks"]
        note = json.dumps([found.source, *found.doubts])
        self.store.write(self.path(target, "masks"), png_bytes(found.pixels, key, note))
        self._memory.put(key, found.pixels)
        self.held["masks"].add(key)

    def keep(self, target: Target, kind: Kind, made: Picture | str | dict[str, Tensor]) -> None:
        """Writes a photo's file of a kind: a picture, a caption, or tensors."""
        key = target.keys[kind]
        if isinstance(made, dict):
            content = features_bytes(made, key)
        elif isinstance(made, str):
            content = caption_bytes(made, key)
        else:
            content = png_bytes(made, key)
            self._memory.put(key, made)
        self.store.write(self.path(target, kind), content)
        self.held[kind].add(key)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Keeps an error that the user can mend to this subject."""
        try:
            yield
        except UserError as error:
            self.error = error

    @contextmanager
    def trying(self, target: Target, kind: Kind) -> Iterator[None]:
        """Notes why nothing can be made of this photo; the stage goes on with the others."""
        try:
            yield
        except UnfitPhotoError as error:
            self._faults.append(self._fault(target, kind, str(error)))
        else:
            self.made.add(target.photo.digest)

    def settle(self, skip_bad: bool) -> list[LeftOut]:
        """Ends a stage: photos that are unfit are left out, or else stop their subject.

        Args:
            skip_bad: Whether they may be left out; those that are now are returned.

        Raises:
            UserError: If they may not, or if none is left; it names all of them.
        """
        faults, self._faults = self._faults, []
        if faults and not skip_bad:
            raise UserError("; ".join(f"photo {fault}" for fault in faults))
        gone = {fault.digest for fault in faults}
        for target in self.targets:
            if target.photo.digest in gone:
                # What was made of it goes when all is done.
                held = [kind for kind, key in target.keys.items() if key in self.held[kind]]
                self._ours |= {self.path(target, kind) for kind in held}
        self.made -= gone
        self.targets = [target for target in self.targets if target.photo.digest not in gone]
        self.left_out = sorted([*self.left_out, *faults], key=lambda photo: photo.name)
        if not self.targets:
            reasons = "; ".join(map(str, faults))
            raise UserError(f"no photo in {self.photos_folder} can be used; {reasons}")
        return faults

    def note_known_faults(self) -> None:
        """Notes what an earlier run found of these photos, and would be found again."""
        noted = {(p.digest, p.key): p.reason for p in self.index.left_out} if self.index else {}
        for target in self.targets:
            for kind in target.keys:
                fault = self._fault(target, kind, "")
                if (reason := noted.get((fault.digest, fault.key))) is not None:
                    self._faults.append(replace(fault, reason=reason))

    def _fault(self, target: Target, kind: Kind, reason: str) -> LeftOut:
        """What is noted where a photo's file of a kind cannot be made.

        It holds for the same key; of a mask, which is found by looking at the whole set, for the
        same photos beside it too.
        """
        key = target.keys[kind]
        if kind == "masks":
            digests = sorted(photo.digest for photo in self.photos)
            key = fingerprint_fields(mask=key, beside=" ".join(digests))
        return LeftOut(target.photo.name, target.photo.digest, key, reason)

    def tidy(self) -> None:
        """Removes what no photo needs any more; spares what is not as it was made."""
        needed = {self.path(target, kind) for target in self.targets for kind in target.keys}
        self.store.remove(self._ours - needed)

    def missing(self) -> list[str]:
        """Names what is missing or stale, one short text each."""
        found = self.missing_files(KINDS)
        if not self._is_indexed():
            found.append(INDEX)
        if not self.has_sheet():
            found.append(CONTACT_PAGE)
        return found

    def missing_files(self, kinds: Sequence[Kind]) -> list[str]:
        """Names the photos' files of some kinds that are missing or stale."""
        return [
            f"{_NOUNS.get(kind, kind)} of {target.photo.name!r}"
            for kind in kinds
            for target in self.lacking(kind)
        ]

    def _is_indexed(self) -> bool:
        if self.index is None:
            return False
        should = [(t.photo.name, t.photo.digest, t.keys) for t in self.targets]
        are = [
            (photo.name, photo.digest, {kind: file.key for kind, file in photo.files.items()})
            for photo in self.index.photos
        ]
        names = [view.name for view in self.recipe.views]
        made = (self.index.views, self.index.resolution, self.index.left_out)
        return are == should and made == (names, self.recipe.resolution, self.left_out)

    def files(self, target: Target) -> dict[Kind, PreparedFile]:
        """What the index says of a photo's files, which have to be there."""
        return {
            kind: PreparedFile(key, file_digest(self.path(target, kind)))
            for kind, key in target.keys.items()
        }

    def sheet_key(self) -> str:
        """The key that the contact sheet carries: all that it shows counts."""
        own = [shown_caption(target.photo, self.photos) for target in self.targets]
        said = [prompts_of(target.photo) for target in self.targets]
        rows = [
            (target.photo.name, sorted(target.keys.items()), caption, prompts and str(prompts))
            for target, caption, prompts in zip(self.targets, own, said, strict=True)
        ]
        return fingerprint_fields(page=PAGE_VERSION, review=REVIEW_VERSION, rows=json.dumps(rows))

    def has_sheet(self) -> bool:
        """Whether the contact sheet is there and shows what there is."""
        return page_key(self.store.folder / CONTACT_PAGE) == self.sheet_key()

    def mask(self, target: Target) -> Mask:
        """A photo's mask, `H W`, which has to be there."""
        return np.asarray(self.matte(target) >= HALF)

    def matte(self, target: Target) -> Matte:
        """The same with its soft edge, where it has one; nobody may change it."""
        return self._picture(target, "masks")

    def hole(self, target: Target) -> Mask:
        """What has to be painted out, `H W`: the mask and all of its soft edge."""
        return np.asarray(self.matte(target) >= _TRACE)

    def said_of_mask(self, target: Target) -> tuple[str, list[str]]:
        """What a photo's mask was taken from, and what makes it doubtful."""
        note = png_note(self.path(target, "masks"))
        source, *doubts = json.loads(note) if note else [""]
        return source, doubts

    def background(self, target: Target) -> Picture:
        """A photo's background, `H W 3`, which has to be there; nobody may change it."""
        return self._picture(target, "backgrounds")

    def caption(self, target: Target) -> SheetCaption:
        """A photo's caption as the contact sheet shows it: the user's own, or the captioner's."""
        phrase = ""
        if (key := target.keys.get("captions")) is not None:
            phrase = read_caption(self.path(target, "captions"), key)
        return shown_caption(target.photo, self.photos, phrase)

    def _picture(self, target: Target, kind: Kind) -> Picture:
        key = target.keys[kind]
        return self._memory.get(key, lambda: read_png(self.path(target, kind), key))

    def size(self, target: Target) -> Size:
        """The size of a photo's views."""
        return self.recipe.size_of(*target.photo.size())

    def frames(self, target: Target) -> list[Frame]:
        """The parts that the views of a photo show."""
        size, mask = self.size(target), self.mask(target)
        return frames_of(self.recipe.views, mask, target.photo.digest, size.width / size.height)

    def views(self, target: Target, image: Picture, frames: Sequence[Frame]) -> list[Tensor]:
        """All views of a photo, or of its background: batches `B 3 h w` in [-1, 1]."""
        shown = [show(image, frame, self.size(target)) for frame in frames]
        together = batches(self.recipe.views)
        return [torch.stack([shown[place] for place in places]) for places in together]


def _as_made(path: Path, digest: str | None, kind: Kind) -> bool:
    """Whether a file that carries a key is what was written under it."""
    if digest is None:
        return kind in FEATURES or _is_whole(path, kind)
    try:
        return file_digest(path) == digest
    except FileNotFoundError:
        return False  # another run has just removed it


def _is_whole(path: Path, kind: Kind) -> bool:
    """Whether a picture or a caption can be read to its end."""
    return caption_key(path) is not None if kind == "captions" else is_whole_png(path)
