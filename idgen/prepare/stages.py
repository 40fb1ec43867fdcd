"""The stages of preparation, in order; each makes what is lacking and loads one model for it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor

from idgen.backbones.latents import Autoencoder
from idgen.devices import free
from idgen.errors import UserError
from idgen.masks import Mask, Matte, Picture
from idgen.models.encoders import ImageEncoder
from idgen.prepare.captioners.captioner import Captioner, Describe
from idgen.prepare.features import (
    Encode,
    LatentBackbone,
    encode_images,
    encode_latents,
    working_dtype,
)
from idgen.prepare.index import KINDS, Index, Kind, LeftOut, PreparedPhoto
from idgen.prepare.inpainters.inpainter import Inpaint, Inpainter
from idgen.prepare.photos import Photo, UnfitPhotoError
from idgen.prepare.progress import PreparationProgress
from idgen.prepare.segmenters.finding import Find, Finding
from idgen.prepare.segmenters.prompts import prompts_of
from idgen.prepare.segmenters.segmenter import Segmenter
from idgen.prepare.sheet.page import SheetRow, draw_contact_page
from idgen.prepare.sheet.review import Look, look_of, mask_warnings, set_warnings
from idgen.prepare.state import State, Target
from idgen.prepare.store import CONTACT_PAGE, INDEX, read_features
from idgen.prepare.views import Frame, show_mask
from idgen.threads import available_cores

Work: TypeAlias = list[tuple[State, Target]]
Model = TypeVar("Model")
Read = TypeVar("Read")
Item = TypeVar("Item")
_FEWEST_READERS, _MOST_READERS = 2, 8
"""Threads that read, and work without networks; as many photos are in memory before their turn."""


class Stages:
    """The stages, each over all subjects, so that all models but the segmenter are loaded once.

    Each writes its files one by one, so that a run that is killed can be gone on with. An error
    that the user can mend stops the subject it is about and no other.
    """

    def __init__(
        self,
        states: Sequence[State],
        device: torch.device,
        progress: bool = True,
        left_out: Callable[[Path, LeftOut], None] | None = None,
    ) -> None:
        """Counts the steps: each file that is lacking, and the contact sheets.

        Args:
            states: The subjects.
            device: Where models run.
            progress: Whether to show on stderr how far all steps are.
            left_out: Told, with its folder, of each photo of which nothing can be made, and which
                is left out then; None if such a photo stops its subject.
        """
        self.states = states
        self.device = device
        self.left_out = left_out
        steps = sum(len(state.missing_files(KINDS)) + 1 for state in states)
        self._progress = PreparationProgress(steps, progress)

    def run(
        self,
        segmenter: Segmenter,
        inpainter: Inpainter,
        captioner: Captioner | None,
        backbone: LatentBackbone,
        image_encoder: ImageEncoder,
    ) -> None:
        """Goes through all of them with these models."""
        with self._progress:
            self._masks(segmenter)
            self._backgrounds(inpainter)
            if captioner is not None:
                self._captions(captioner)
            self._latents(backbone)
            self._embeddings(image_encoder, working_dtype(backbone.dtype, self.device))
            for state in self._going():
                for _ in self._stepped([(state, None)], "contact sheet"):
                    with state.guarded():
                        finish(state)

    def _going(self) -> list[State]:
        return [state for state in self.states if state.error is None]

    def _settle(self) -> None:
        for state in self._going():
            with state.guarded():
                for fault in state.settle(skip_bad=self.left_out is not None):
                    if self.left_out is not None:
                        self.left_out(state.photos_folder, fault)

    def _masks(self, segmenter: Segmenter) -> None:
        """Masks of the photos that lack one; subject by subject, for a set is looked at whole."""
        for state in self._going():
            work = [(state, target) for target in state.lacking("masks")]
            if not work:
                continue
            with state.guarded(), segmenter.finding(self.device, state.photos) as find:
                for _, target, result in self._looked(work, find, segmenter.is_parallel):
                    with state.trying(target, "masks"):
                        found = result()
                        checked_mask(found.mask)
                        state.keep_mask(target, found)
            free(self.device)
        self._settle()

    def _looked(
        self, work: Work, find: Find, is_parallel: bool
    ) -> Iterator[tuple[State, Target, Callable[[], Finding]]]:
        """The work, each with what finds its subject; in threads ahead where that may be."""

        def look(state: State, target: Target) -> Finding:
            return find(target.photo)

        if is_parallel:
            yield from self._read_ahead(work, "masks", look)
            return
        for state, target in self._stepped(work, "masks"):
            yield state, target, partial(look, state, target)

    def _backgrounds(self, inpainter: Inpainter) -> None:
        """Backgrounds of the photos that lack one."""

        def read(state: State, target: Target) -> tuple[Picture, Mask]:
            return target.photo.pixels(), state.hole(target)

        def make(inpaint: Inpaint, pictures: tuple[Picture, Mask]) -> Picture:
            return inpaint(*pictures)

        if not inpainter.is_parallel:
            self._each("backgrounds", lambda: inpainter.loaded(self.device), read, make)
            return
        with inpainter.loaded(self.device) as inpaint:

            def fill(state: State, target: Target) -> Picture:
                return inpaint(*read(state, target))

            self._each("backgrounds", nullcontext, fill, lambda _, filled: filled)

    def _captions(self, captioner: Captioner) -> None:
        """The scene's phrase of the photos that lack one."""

        def read(state: State, target: Target) -> tuple[Photo, Picture]:
            return target.photo, state.background(target)

        def make(describe: Describe, inputs: tuple[Photo, Picture]) -> str:
            return " ".join(describe(*inputs).split())

        self._each("captions", lambda: captioner.loaded(self.device), read, make)

    def _latents(self, backbone: LatentBackbone) -> None:
        """Latents of the photos that lack them, and the subject's share of each of their places."""

        def read(state: State, target: Target) -> tuple[list[Tensor], Matte, list[Frame]]:
            frames = state.frames(target)
            views = state.views(target, target.photo.pixels(), frames)
            return views, state.matte(target), frames

        def make(
            autoencoder: Autoencoder, inputs: tuple[list[Tensor], Matte, list[Frame]]
        ) -> dict[str, Tensor]:
            views, matte, frames = inputs
            found = [p for b in views for p in encode_latents(autoencoder, b.to(self.device))]
            mean, log_variance = (torch.stack(part) for part in zip(*found, strict=True))
            shares = [show_mask(matte, frame, *mean.shape[-2:]) for frame in frames]
            return {
                "latent_mean": mean,
                "latent_log_variance": log_variance,
                "subject_mask": torch.stack(shares),
            }

        self._each("latents", lambda: backbone.autoencoder(self.device), read, make)

    def _embeddings(self, image_encoder: ImageEncoder, dtype: torch.dtype) -> None:
        """f_p and f'_i of the photos that lack them."""

        def read(state: State, target: Target) -> tuple[list[Tensor], list[Tensor]]:
            frames = state.frames(target)
            photo, background = target.photo.pixels(), state.background(target)
            return state.views(target, photo, frames), state.views(target, background, frames)

        def make(encode: Encode, inputs: tuple[list[Tensor], list[Tensor]]) -> dict[str, Tensor]:
            photo, background = (
                torch.cat([encode_images(encode, batch) for batch in views]) for views in inputs
            )
            return {"photo_embedding": photo, "background_embedding": background}

        self._each("embeddings", lambda: image_encoder.loaded(self.device, dtype), read, make)

    def _each(
        self,
        kind: Kind,
        loaded: Callable[[], AbstractContextManager[Model]],
        read: Callable[[State, Target], Read],
        make: Callable[[Model, Read], Picture | str | dict[str, Tensor]],
    ) -> None:
        """Makes what is lacking of a kind, all subjects' with one model."""
        work = [(state, target) for state in self._going() for target in state.lacking(kind)]
        if not work:
            return
        with loaded() as model:
            for state, target, pictures in self._read_ahead(work, kind, read):
                with state.guarded(), state.trying(target, kind):
                    try:
                        state.keep(target, kind, make(model, pictures()))
                    except UnfitPhotoError:
                        raise
                    except UserError as error:
                        raise UserError(f"photo {target.photo.name!r}: {error}") from error
        del model
        free(self.device)
        self._settle()

    def _read_ahead(
        self, work: Work, stage: str, read: Callable[[State, Target], Read]
    ) -> Iterator[tuple[State, Target, Callable[[], Read]]]:
        """The work, each with what gives its pictures: threads read while the model computes.

        Results come in the order of the work, whatever thread is first.
        """
        count = min(max(available_cores(), _FEWEST_READERS), _MOST_READERS)
        with ThreadPoolExecutor(count) as readers:
            waiting: deque[Future[Read]] = deque()
            upcoming = iter(work)

            def next_reading() -> Future[Read]:
                for item in islice(upcoming, 1 + count - len(waiting)):
                    waiting.append(readers.submit(read, *item))
                return waiting.popleft()

            try:
                for state, target in self._stepped(work, stage):
                    reading = next_reading()
                    if state.error is None:
                        yield state, target, reading.result
            finally:
                readers.shutdown(cancel_futures=True)

    def _stepped(
        self, work: Iterable[tuple[State, Item]], stage: str
    ) -> Iterator[tuple[State, Item]]:
        """The work, each item a step of the progress, which says what is being done."""
        for state, item in work:
            self._progress.begin(stage, state.name)
            yield state, item
            self._progress.advance()


def checked_mask(mask: Mask) -> Mask:
    """A segmenter's mask, if it is of some use.

    Raises:
        UnfitPhotoError: If it is empty or full.
    """
    if mask.all() or not mask.any():
        what = "the whole picture" if mask.all() else "nothing"
        raise UnfitPhotoError(
            f"the segmenter takes {what} for the subject; put a mask beside the photo, such as "
            "00.mask.png beside 00.jpg, or leave this photo out"
        )
    return mask


def finish(state: State) -> None:
    """Draws the contact sheet; then what is left over goes; last of all, writes the index.

    Args:
        state: Of a subject whose masks, backgrounds and features are all there.

    Raises:
        UserError: If a file cannot be read or written.
    """
    looks = _looks(state)
    warnings = _warnings(state, looks)
    if not state.has_sheet():
        rows = (
            SheetRow(
                target.photo.name,
                target.photo.pixels(),
                state.mask(target),
                state.background(target),
                warned,
                state.caption(target),
                state.said_of_mask(target)[0],
                prompts_of(target.photo),
                target.photo.full_size(),
            )
            for target, warned in zip(state.targets, warnings, strict=True)
        )
        page = draw_contact_page(rows, state.sheet_key())
        state.store.write(state.store.folder / CONTACT_PAGE, page)
    square = (state.recipe.resolution,) * 2
    photos = [
        PreparedPhoto(
            target.photo.name,
            target.photo.digest,
            state.files(target),
            look,
            warned,
            None if (size := state.size(target)) == square else size,
        )
        for target, look, warned in zip(state.targets, looks, warnings, strict=True)
    ]
    state.tidy()
    names = [view.name for view in state.recipe.views]
    index = Index(photos, names, state.recipe.resolution, state.left_out)
    if index != state.index:
        state.store.write(state.store.folder / INDEX, index.to_bytes())


def _looks(state: State) -> list[Look]:
    """Sums each photo up; what was seen before is not read again."""
    before = state.index.photos if state.index else []
    whole = (photo for photo in before if photo.look.on_edges is not None)
    known = {(photo.digest, photo.files["masks"].key): photo.look for photo in whole}
    return [
        known.get((target.photo.digest, target.keys["masks"]))
        or look_of(target.photo.pixels(), state.mask(target))
        for target in state.targets
    ]


def _warnings(state: State, looks: list[Look]) -> list[list[str]]:
    subjects = []
    for target in state.targets:
        tensors = read_features(state.path(target, "embeddings"), target.keys["embeddings"])
        # Of the plain view, which is the first.
        subjects.append(tensors["photo_embedding"][0] - tensors["background_embedding"][0])
    names = [target.photo.name for target in state.targets]
    beside_others = set_warnings(names, looks, torch.stack(subjects))
    return [
        state.said_of_mask(target)[1] + mask_warnings(state.mask(target)) + warned
        for target, warned in zip(state.targets, beside_others, strict=True)
    ]
