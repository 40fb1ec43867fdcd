"""The stages of preparation, in order; each makes what is lacking and loads one model for it."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from idgen.masks import Mask
from idgen.models.encoders import ImageEncoder
from idgen.prepare.features import (
    LatentBackbone,
    Parts,
    encode_images,
    encode_latents,
    features_bytes,
    free,
    read_parts,
    working_dtype,
)
from idgen.prepare.finish import finish
from idgen.prepare.inpainters.inpainter import Inpainter
from idgen.prepare.jobs import Job, Steps, Work, named
from idgen.prepare.photos import UnfitPhotoError
from idgen.prepare.segmenters.segmenter import Segmenter
from idgen.prepare.state import Target
from idgen.prepare.store import Kind, png_bytes
from idgen.prepare.subject import LeftOut
from idgen.prepare.views import batches

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

    def _lacking(self, kind: Kind) -> Work:
        return [(job, target) for job in self._going() for target in job.state.lacking(kind)]

    def _settle(self) -> None:
        for job in self._going():
            with job.guarded():
                for fault in job.settle(skip_bad=self.left_out is not None):
                    if self.left_out is not None:
                        self.left_out(job.state.photos[0].path.parent, fault)

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
                        content = png_bytes(mask.astype(np.uint8) * 255, target.mask_key)
                        _keep(job, target, "masks", content)
            free(self.device)
        self._settle()

    def backgrounds(self, inpainter: Inpainter) -> None:
        """Backgrounds of the photos that lack one."""
        work = self._lacking("backgrounds")
        if not work:
            return

        def read(job: Job, target: Target) -> tuple[NDArray[np.uint8], Mask]:
            return target.photo.pixels(), job.state.mask(target)

        with inpainter.loaded(self.device) as inpaint:
            for job, target, inputs in self._read_ahead(work, "backgrounds", read):
                with job.guarded(), named(target.photo), job.trying(target, "backgrounds"):
                    content = png_bytes(inpaint(*inputs()), target.background_key)
                    _keep(job, target, "backgrounds", content)
        free(self.device)
        self._settle()

    def features(self, backbone: LatentBackbone, image_encoder: ImageEncoder) -> None:
        """Features of the photos that lack some; what older files hold of them is taken over."""
        work = self._lacking("features")
        for job in {id(job): job for job, _ in work}.values():
            for path in job.state.held["features"].values():
                job.parts.update(read_parts(path))
        unseen = [(j, t) for j, t in work if not _has_latents(t, j.parts)]
        self._latents(backbone, unseen)
        self._settle()
        work = self._lacking("features")
        unread = [(j, t) for j, t in work if not _embedded(t, j.parts)]
        self._embeddings(image_encoder, working_dtype(backbone.dtype, self.device), unread)
        self._settle()
        self.steps.advance(2 * len(work) - len(unseen) - len(unread))
        for job, target in self._lacking("features"):
            with job.guarded():
                _keep_features(job, target)
        for job in self.jobs:
            job.parts.clear()

    def _latents(self, backbone: LatentBackbone, work: Work) -> None:
        if not work:
            return

        def read(job: Job, target: Target) -> Tensor:
            return job.state.views(target, target.photo.pixels())

        with backbone.autoencoder(self.device) as autoencoder:
            for job, target, views in self._read_ahead(work, "latents", read):
                keys = [view.latents for view in target.features.views]
                with job.guarded(), named(target.photo), job.trying(target, "features"):
                    pixels = views()
                    for places in _lacking_batches(job, keys):
                        latents = encode_latents(autoencoder, pixels[places].to(self.device))
                        job.parts.update(zip([keys[at] for at in places], latents, strict=True))
        free(self.device)

    def _embeddings(self, image_encoder: ImageEncoder, dtype: torch.dtype, work: Work) -> None:
        if not work:
            return

        def read(job: Job, target: Target) -> tuple[Tensor, Tensor]:
            photo = job.state.views(target, target.photo.pixels())
            return photo, job.state.views(target, job.state.background(target))

        with image_encoder.loaded(self.device, dtype) as encode:
            for job, target, views in self._read_ahead(work, "embeddings", read):
                photo_keys = [view.photo_embedding for view in target.features.views]
                background_keys = [view.background_embedding for view in target.features.views]
                with job.guarded(), named(target.photo), job.trying(target, "features"):
                    for keys, pixels in zip((photo_keys, background_keys), views(), strict=True):
                        for places in _lacking_batches(job, keys):
                            found = encode_images(encode, pixels[places])
                            job.parts.update(zip([keys[at] for at in places], found, strict=True))
                    _keep_features(job, target)
        free(self.device)

    def _read_ahead(
        self, work: Work, stage: str, read: Callable[[Job, Target], Read]
    ) -> Iterator[tuple[Job, Target, Callable[[], Read]]]:
        """The work, each with what gives its pictures: threads read while the model computes."""
        with ThreadPoolExecutor(_READERS) as readers:
            waiting: deque[Future[Read]] = deque()
            upcoming = iter(work)

            def next_reading() -> Future[Read]:
                for item in islice(upcoming, 1 + _AHEAD - len(waiting)):
                    waiting.append(readers.submit(read, *item))
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


def _keep(job: Job, target: Target, kind: Kind, content: bytes) -> None:
    job.state.keep(target, kind, content)
    job.made.add(target.photo.digest)


def _keep_features(job: Job, target: Target) -> None:
    """Writes what was computed, and the subject's masks, which take no model."""
    mean, _ = job.parts[target.features.views[0].latents]
    masks = job.state.subject_masks(target, mean.shape[-2], mean.shape[-1])
    _keep(job, target, "features", features_bytes(target.features, job.parts, masks))


def _lacking_batches(job: Job, keys: Sequence[str]) -> list[list[int]]:
    """Batches of views of which one is lacking: what is in a batch decides its last bits."""
    return [
        places
        for places in batches(job.state.recipe.views)
        if any(keys[place] not in job.parts for place in places)
    ]


def _has_latents(target: Target, parts: Parts) -> bool:
    return all(view.latents in parts for view in target.features.views)


def _embedded(target: Target, parts: Parts) -> bool:
    keys = [
        key for v in target.features.views for key in (v.photo_embedding, v.background_embedding)
    ]
    return all(key in parts for key in keys)


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
