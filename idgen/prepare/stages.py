"""The stages of preparation, in order; each makes what is lacking and loads one model for it."""

from collections.abc import Sequence

import numpy as np
import torch

from idgen.errors import UserError
from idgen.models.encoders import ImageEncoder
from idgen.prepare.features import (
    LatentBackbone,
    Parts,
    encode_image,
    encode_latents,
    features_bytes,
    free,
    read_parts,
)
from idgen.prepare.finish import finish
from idgen.prepare.inpainter import Inpainter
from idgen.prepare.jobs import Job, Steps, Work, named
from idgen.prepare.photos import Photo
from idgen.prepare.segmenter import Mask, Segmenter
from idgen.prepare.state import Target
from idgen.prepare.store import Kind, png_bytes


class Stages:
    """The stages, each over all subjects, so that every model is loaded once.

    Each writes its files one by one, so that a run that is killed can be gone on with. An error
    that the user can mend stops the subject it is about and no other.
    """

    def __init__(self, jobs: Sequence[Job], device: torch.device, steps: Steps) -> None:
        """Puts them together.

        Args:
            jobs: The subjects.
            device: Where models run.
            steps: Shows how far they are.
        """
        self.jobs = jobs
        self.device = device
        self.steps = steps

    def _going(self) -> list[Job]:
        return [job for job in self.jobs if job.error is None]

    def _lacking(self, kind: Kind) -> Work:
        return [(job, target) for job in self._going() for target in job.state.lacking(kind)]

    def masks(self, segmenter: Segmenter) -> None:
        """Masks of the photos that lack one."""
        work = self._lacking("masks")
        if not work:
            return
        with segmenter.loaded(self.device) as segment:
            for job, target in self.steps.of(work, "masks"):
                with job.guarded():
                    mask = checked_mask(segment(target.photo), target.photo)
                    content = png_bytes(mask.astype(np.uint8) * 255, target.mask_key)
                    _keep(job, target, "masks", content)
        free(self.device)

    def backgrounds(self, inpainter: Inpainter) -> None:
        """Backgrounds of the photos that lack one."""
        work = self._lacking("backgrounds")
        if not work:
            return
        with inpainter.loaded(self.device) as inpaint:
            for job, target in self.steps.of(work, "backgrounds"):
                with job.guarded(), named(target.photo):
                    background = inpaint(target.photo.pixels(), job.state.mask(target))
                    content = png_bytes(background, target.background_key)
                    _keep(job, target, "backgrounds", content)
        free(self.device)

    def features(self, backbone: LatentBackbone, image_encoder: ImageEncoder) -> None:
        """Features of the photos that lack some; what older files hold of them is taken over."""
        work = self._lacking("features")
        for job in {id(job): job for job, _ in work}.values():
            for path in job.state.held["features"].values():
                job.parts.update(read_parts(path))
        self._latents(backbone, [(j, t) for j, t in work if not _has_latents(t, j.parts)])
        self._embeddings(image_encoder, [(j, t) for j, t in work if not _embedded(t, j.parts)])
        for job, target in self._lacking("features"):
            with job.guarded():
                _keep(job, target, "features", features_bytes(target.features, job.parts))
        for job in self.jobs:
            job.parts.clear()

    def _latents(self, backbone: LatentBackbone, work: Work) -> None:
        if not work:
            return
        with backbone.autoencoder(self.device) as autoencoder:
            for job, target in self.steps.of(work, "latents"):
                with job.guarded(), named(target.photo):
                    pixels = job.state.views(target, target.photo.pixels())
                    for keys, view in zip(target.features.views, pixels, strict=True):
                        if keys.latents not in job.parts:
                            latents = encode_latents(autoencoder, view.to(self.device))
                            job.parts[keys.latents] = latents
        free(self.device)

    def _embeddings(self, image_encoder: ImageEncoder, work: Work) -> None:
        if not work:
            return
        with image_encoder.loaded(self.device) as encode:
            for job, target in self.steps.of(work, "embeddings"):
                with job.guarded():
                    photo = job.state.views(target, target.photo.pixels())
                    background = job.state.views(target, job.state.background(target))
                    for keys, of_photo, of_background in zip(
                        target.features.views, photo, background, strict=True
                    ):
                        if keys.photo_embedding not in job.parts:
                            job.parts[keys.photo_embedding] = (encode_image(encode, of_photo),)
                        if keys.background_embedding not in job.parts:
                            embedding = encode_image(encode, of_background)
                            job.parts[keys.background_embedding] = (embedding,)
                    _keep(job, target, "features", features_bytes(target.features, job.parts))
        free(self.device)

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


def _has_latents(target: Target, parts: Parts) -> bool:
    return all(view.latents in parts for view in target.features.views)


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
