"""The stages of preparation, in order; each makes what is lacking and loads one model for it."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from idgen.errors import UserError
from idgen.fingerprint import file_digest
from idgen.models.encoders import ImageEncoder
from idgen.prepare.contact_sheet import SheetRow, draw_contact_sheet
from idgen.prepare.features import (
    LatentBackbone,
    Parts,
    encode_image,
    encode_latents,
    features_bytes,
    free,
    read_parts,
)
from idgen.prepare.inpainter import Inpainter
from idgen.prepare.photos import Photo
from idgen.prepare.review import mask_warnings
from idgen.prepare.segmenter import Mask, Segmenter
from idgen.prepare.state import State, Target
from idgen.prepare.store import CONTACT_SHEET, INDEX, KINDS, png_bytes, png_key
from idgen.prepare.subject import Index, PreparedFile, PreparedPhoto


class Stages:
    """The stages, over one state, on one device.

    Each writes its files one by one, so that a run that is killed can be gone on with.
    """

    def __init__(self, state: State, device: torch.device, bars: Progress) -> None:
        """Puts them together.

        Args:
            state: What should be and what is.
            device: Where models run.
            bars: Shows how far they are.
        """
        self.state = state
        self.device = device
        self.bars = bars

    def _track(self, targets: Sequence[Target], description: str) -> Iterable[Target]:
        return self.bars.track(targets, description=description)

    def masks(self, segmenter: Segmenter) -> None:
        """Masks of the photos that lack one."""
        lacking = self.state.lacking("masks")
        if not lacking:
            return
        photos = [target.photo for target in self.state.targets]
        with segmenter.loaded(self.device, photos) as segment:
            for target in self._track(lacking, "masks"):
                mask = checked_mask(segment(target.photo), target.photo)
                content = png_bytes(mask.astype(np.uint8) * 255, target.mask_key)
                self.state.keep(target, "masks", content)
        free(self.device)

    def backgrounds(self, inpainter: Inpainter) -> None:
        """Backgrounds of the photos that lack one."""
        lacking = self.state.lacking("backgrounds")
        if not lacking:
            return
        with inpainter.loaded(self.device) as inpaint:
            for target in self._track(lacking, "backgrounds"):
                with named(target.photo):
                    background = inpaint(target.photo.pixels(), self.state.mask(target))
                content = png_bytes(background, target.background_key)
                self.state.keep(target, "backgrounds", content)
        free(self.device)

    def features(self, backbone: LatentBackbone, image_encoder: ImageEncoder) -> None:
        """Features of the photos that lack some; what older files hold of them is taken over."""
        lacking = self.state.lacking("features")
        if not lacking:
            return
        parts: Parts = {}
        for path in self.state.held["features"].values():
            parts.update(read_parts(path))
        unseen = [t for t in lacking if any(v.latents not in parts for v in t.features.views)]
        if unseen:
            with backbone.autoencoder(self.device) as autoencoder:
                for target in self._track(unseen, "latents"):
                    pixels = self.state.views(target, target.photo.pixels())
                    for keys, view in zip(target.features.views, pixels, strict=True):
                        if keys.latents not in parts:
                            with named(target.photo):
                                latents = encode_latents(autoencoder, view.to(self.device))
                            parts[keys.latents] = latents
            free(self.device)
        self._embeddings(image_encoder, [t for t in lacking if not _embedded(t, parts)], parts)
        for target in self.state.lacking("features"):
            self.state.keep(target, "features", features_bytes(target.features, parts))

    def _embeddings(self, image_encoder: ImageEncoder, unseen: list[Target], parts: Parts) -> None:
        if not unseen:
            return
        with image_encoder.loaded(self.device) as encode:
            for target in self._track(unseen, "embeddings"):
                photo = self.state.views(target, target.photo.pixels())
                background = self.state.views(target, self.state.background(target))
                for keys, of_photo, of_background in zip(
                    target.features.views, photo, background, strict=True
                ):
                    if keys.photo_embedding not in parts:
                        parts[keys.photo_embedding] = (encode_image(encode, of_photo),)
                    if keys.background_embedding not in parts:
                        parts[keys.background_embedding] = (encode_image(encode, of_background),)
                self.state.keep(target, "features", features_bytes(target.features, parts))
        free(self.device)

    def index(self) -> None:
        """The contact sheet; then what is left over goes; last of all, the index."""
        state = self.state
        warnings = self._warnings()
        self._contact_sheet(warnings)
        photos = [
            PreparedPhoto(
                name=target.photo.name,
                digest=target.photo.digest,
                mask=mask,
                background=background,
                features=features,
                warnings=warnings[target.mask_key],
            )
            for target in state.targets
            for mask, background, features in [self._files(target)]
        ]
        state.tidy()
        names = [view.name for view in state.recipe.views]
        index = Index(photos, names, state.recipe.resolution)
        if index != state.index:
            content = json.dumps(index.to_json(), indent=1) + "\n"
            state.store.write(state.store.folder / INDEX, content.encode())

    def _files(self, target: Target) -> list[PreparedFile]:
        paths = {kind: self.state.path(target, kind) for kind in KINDS}
        return [
            PreparedFile(f"{kind}/{path.name}", target.key(kind), file_digest(path))
            for kind, path in paths.items()
        ]

    def _warnings(self) -> dict[str, list[str]]:
        """What looks wrong with each mask, by its key; masks seen before are not read again."""
        before = self.state.index.photos if self.state.index else []
        known = {photo.mask.key: photo.warnings for photo in before}
        for target in self.state.targets:
            if target.mask_key not in known:
                known[target.mask_key] = mask_warnings(self.state.mask(target))
        return known

    def _contact_sheet(self, warnings: dict[str, list[str]]) -> None:
        state = self.state
        path, key = state.store.folder / CONTACT_SHEET, state.sheet_key()
        if png_key(path) == key:
            return
        rows = (
            SheetRow(
                target.photo.name,
                target.photo.pixels(),
                state.mask(target),
                state.background(target),
                warnings[target.mask_key],
            )
            for target in self._track(state.targets, "contact sheet")
        )
        state.store.write(path, png_bytes(draw_contact_sheet(rows), key))


def _embedded(target: Target, parts: Parts) -> bool:
    keys = [
        key for v in target.features.views for key in (v.photo_embedding, v.background_embedding)
    ]
    return all(key in parts for key in keys)


def checked_mask(mask: Mask, photo: Photo) -> Mask:
    """The mask, if it is of some use.

    Raises:
        UserError: If it is empty or full.
    """
    if mask.all() or not mask.any():
        what = "the whole picture" if mask.all() else "nothing"
        raise UserError(
            f"photo {photo.name!r}: the segmenter takes {what} for the subject; "
            "give a mask of your own with MaskFiles, or leave this photo out"
        )
    return mask


@contextmanager
def named(photo: Photo) -> Iterator[None]:
    """Puts the photo's name before an error about it."""
    try:
        yield
    except UserError as error:
        raise UserError(f"photo {photo.name!r}: {error}") from error


def progress_bars(shown: bool) -> Progress:
    """One bar a stage, on the terminal's stderr."""
    return Progress(
        TextColumn("{task.description:<13}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not shown,
    )
