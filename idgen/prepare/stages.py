"""The stages of preparation, in order; each makes what is lacking and loads one model for it."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from idgen.devices import free
from idgen.errors import UserError
from idgen.masks import Mask
from idgen.models.backbone import Autoencoder
from idgen.models.encoders import ImageEncoder
from idgen.prepare.features import (
    Encode,
    LatentBackbone,
    encode_images,
    encode_latents,
    working_dtype,
)
from idgen.prepare.finish import finish
from idgen.prepare.index import Kind, LeftOut
from idgen.prepare.inpainters.inpainter import Inpaint, Inpainter
from idgen.prepare.jobs import Job, Steps, Work
from idgen.prepare.photos import UnfitPhotoError
from idgen.prepare.segmenters.segmenter import Segmenter
from idgen.prepare.state import State, Target
from idgen.prepare.views import Frame, show_mask

Model = TypeVar("Model")
Read = TypeVar("Read")
_READERS = 2
_AHEAD = 2
"""Photos whose pictures are in memory before their turn."""


class Stages:
    """The stages, each over all subjects, so that all models but the segmenter are loaded once.

    Each writes its files one by one, so that a run that is killed can be gone on with. An error
    that the user can mend stops the subject it is about and no other.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        device: torch.device,
        steps: Steps,
        left_out: Callable[[Path, LeftOut], None] | None = None,
    ) -> None:
        """Puts them together.

        Args:
            jobs: The subjects.
            device: Where models run.
            steps: Shows how far they are.
            left_out: Told, with its folder, of each photo of which nothing can be made, and which
                is left out then; None if such a photo stops its subject.
        """
        self.jobs = jobs
        self.device = device
        self.steps = steps
        self.left_out = left_out

    def _going(self) -> list[Job]:
        return [job for job in self.jobs if job.error is None]

    def _settle(self) -> None:
        for job in self._going():
            with job.guarded():
                for fault in job.settle(skip_bad=self.left_out is not None):
                    if self.left_out is not None:
                        self.left_out(job.photos_folder, fault)

    def masks(self, segmenter: Segmenter) -> None:
        """Masks of the photos that lack one; subject by subject, for a set is looked at whole."""
        for job in self._going():
            work = [(job, target) for target in job.state.lacking("masks")]
            if not work:
                continue
            with job.guarded(), segmenter.loaded(self.device, job.state.photos) as segment:
                for _, target in self.steps.each(work, "masks"):
                    with job.trying(target, "masks"):
                        mask = checked_mask(segment(target.photo))
                        job.state.keep(target, "masks", mask.astype(np.uint8) * 255)
            free(self.device)
        self._settle()

    def backgrounds(self, inpainter: Inpainter) -> None:
        """Backgrounds of the photos that lack one."""

        def read(state: State, target: Target) -> tuple[NDArray[np.uint8], Mask]:
            return target.photo.pixels(), state.mask(target)

        def make(inpaint: Inpaint, pictures: tuple[NDArray[np.uint8], Mask]) -> NDArray[np.uint8]:
            return inpaint(*pictures)

        self._each("backgrounds", lambda: inpainter.loaded(self.device), read, make)

    def latents(self, backbone: LatentBackbone) -> None:
        """Latents of the photos that lack them, and the subject's share of each of their places."""

        def read(state: State, target: Target) -> tuple[list[Tensor], Mask, list[Frame]]:
            frames = state.frames(target)
            return state.views(target.photo.pixels(), frames), state.mask(target), frames

        def make(
            autoencoder: Autoencoder, inputs: tuple[list[Tensor], Mask, list[Frame]]
        ) -> dict[str, Tensor]:
            views, mask, frames = inputs
            found = [p for b in views for p in encode_latents(autoencoder, b.to(self.device))]
            mean, log_variance = (torch.stack(part) for part in zip(*found, strict=True))
            shares = [show_mask(mask, frame, *mean.shape[-2:]) for frame in frames]
            return {
                "latent_mean": mean,
                "latent_log_variance": log_variance,
                "subject_mask": torch.stack(shares),
            }

        self._each("latents", lambda: backbone.autoencoder(self.device), read, make)

    def embeddings(self, image_encoder: ImageEncoder, dtype: torch.dtype) -> None:
        """f_p and f'_i of the photos that lack them."""

        def read(state: State, target: Target) -> tuple[list[Tensor], list[Tensor]]:
            frames = state.frames(target)
            photo, background = target.photo.pixels(), state.background(target)
            return state.views(photo, frames), state.views(background, frames)

        def make(encode: Encode, inputs: tuple[list[Tensor], list[Tensor]]) -> dict[str, Tensor]:
            photo, background = (
                torch.cat([encode_images(encode, batch) for batch in views]) for views in inputs
            )
            return {"photo_embedding": photo, "background_embedding": background}

        dtype = working_dtype(dtype, self.device)
        self._each("embeddings", lambda: image_encoder.loaded(self.device, dtype), read, make)

    def _each(
        self,
        kind: Kind,
        loaded: Callable[[], AbstractContextManager[Model]],
        read: Callable[[State, Target], Read],
        make: Callable[[Model, Read], NDArray[np.uint8] | dict[str, Tensor]],
    ) -> None:
        """Makes what is lacking of a kind, all subjects' with one model."""
        work = [(job, target) for job in self._going() for target in job.state.lacking(kind)]
        if not work:
            return
        with loaded() as model:
            for job, target, pictures in self._read_ahead(work, kind, read):
                with job.guarded(), job.trying(target, kind):
                    try:
                        job.state.keep(target, kind, make(model, pictures()))
                    except UnfitPhotoError:
                        raise
                    except UserError as error:
                        raise UserError(f"photo {target.photo.name!r}: {error}") from error
        del model
        free(self.device)
        self._settle()

    def _read_ahead(
        self, work: Work, stage: str, read: Callable[[State, Target], Read]
    ) -> Iterator[tuple[Job, Target, Callable[[], Read]]]:
        """The work, each with what gives its pictures: threads read while the model computes."""
        with ThreadPoolExecutor(_READERS) as readers:
            waiting: deque[Future[Read]] = deque()
            upcoming = iter(work)

            def next_reading() -> Future[Read]:
                for job, target in islice(upcoming, 1 + _AHEAD - len(waiting)):
                    waiting.append(readers.submit(read, job.state, target))
                return waiting.popleft()

            try:
                for job, target in self.steps.each(work, stage):
                    reading = next_reading()
                    if job.error is None:
                        yield job, target, reading.result
            finally:
                readers.shutdown(cancel_futures=True)

    def finish(self) -> None:
        """Contact sheets and indexes."""
        for job in self._going():
            self.steps.show("contact sheet", job)
            with job.guarded():
                finish(job.state)
            self.steps.advance()


def checked_mask(mask: Mask) -> Mask:
    """A segmenter's mask, if it is of some use.

    Raises:
        UnfitPhotoError: If it is empty or full.
    """
    if mask.all() or not mask.any():
        what = "the whole picture" if mask.all() else "nothing"
        raise UnfitPhotoError(
            f"the segmenter takes {what} for the subject; give a mask of your own with MaskFiles, "
            "or leave this photo out"
        )
    return mask
