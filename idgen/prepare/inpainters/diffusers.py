"""Inpainting by a diffusion pipeline, for grounds that are more than plain."""

import gc
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from idgen.errors import UserError, first_line
from idgen.fingerprint import fingerprint_fields, fingerprint_path
from idgen.masks import Mask, Picture
from idgen.prepare.inpainters.context import CONTEXT, at_resolution, fill_in_context
from idgen.prepare.inpainters.inpainter import Inpaint, Inpainter, dilate, no_background
from idgen.sources import model_folder

_KEY = "DiffusersInpainter.source"
_HUB_PATTERNS = [
    "model_index.json",
    "*/*.json",
    "*/*.txt",
    "*/*.model",
    "*/model.safetensors",
    "*/model-*-of-*.safetensors",
    "*/diffusion_pytorch_model.safetensors",
    "*/diffusion_pytorch_model-*-of-*.safetensors",
]


class DiffusersInpainter(Inpainter):
    """Any pipeline of diffusers that can inpaint, by folder or hub id.

    It sees a square around the widened mask, at the resolution it was trained for, and only what
    lies inside the widened mask is taken from it. Where the square is larger than the photo, the
    photo is mirrored at its edge. The noise is seeded by the photo's content, so that a photo
    gets the same background whatever photos stand beside it.
    """

    def __init__(
        self,
        source: str = "sd2-community/stable-diffusion-2-inpainting",
        revision: str | None = None,
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
        steps: int = 30,
        guidance: float = 7.5,
        prompt: str = "empty background",
        negative_prompt: str = "",
        resolution: int | None = None,
        dilation: float = 0.06,
        seed: int = 0,
    ) -> None:
        """Sets what is used; `loaded` brings in the weights.

        Args:
            source: A pipeline folder or a hub id.
            revision: The hub commit, tag or branch; pin it for results that can be repeated.
            dtype: Of weights and computation.
            steps: Steps of the pipeline's own scheduler.
            guidance: Weight of classifier-free guidance.
            prompt: What is to be seen in the subject's place.
            negative_prompt: What is not.
            resolution: Pixels on a side of the square; None for what the pipeline was trained on.
            dilation: How far the mask is widened first, as a fraction of the square root of its
                area, so that no rim of the subject is left to leak into f'_i.
            seed: Another one gives other backgrounds.

        Raises:
            UserError: If a value is out of its range.
        """
        if steps < 1 or dilation < 0 or (resolution is not None and resolution < 8):
            raise UserError(
                "DiffusersInpainter: steps must be 1 or more, dilation 0 or more and resolution "
                f"8 or more; they are {steps}, {dilation} and {resolution}"
            )
        self.source = source
        self.revision = revision
        self.dtype = dtype
        self.steps = steps
        self.guidance = guidance
        self.prompt = prompt
        self.negative_prompt = negative_prompt
        self.resolution = resolution
        self.dilation = dilation
        self.seed = seed

    @cached_property
    def folder(self) -> Path:
        """The pipeline's folder, fetched from the hub if need be; a UserError if there is none."""
        folder = model_folder(
            self.source, parameter=_KEY, revision=self.revision, patterns=_HUB_PATTERNS
        )
        if not (folder / "model_index.json").is_file():
            raise UserError(f"{_KEY}: {folder} is no pipeline folder: model_index.json missing")
        return folder

    @cached_property
    def identity(self) -> str:
        """Hash of the weights and the settings."""
        return fingerprint_fields(
            inpainter="diffusers",
            version=1,
            weights=fingerprint_path(self.folder),
            dtype=self.dtype,
            steps=self.steps,
            guidance=float(self.guidance),
            prompt=self.prompt,
            negative_prompt=self.negative_prompt,
            resolution=self.resolution,
            dilation=float(self.dilation),
            context=CONTEXT,
            seed=self.seed,
        )

    @contextmanager
    def loaded(self, device: torch.device) -> Iterator[Inpaint]:
        """Loads the pipeline, and frees it when the context ends."""
        pipeline = self._load(device)

        def inpaint(image: Picture, mask: Mask) -> Picture:
            return self._inpaint(pipeline, image, mask)  # noqa: F821  (deleted on exit only)

        try:
            yield inpaint
        finally:
            del pipeline  # also from `inpaint`, which the caller may still hold
            gc.collect()

    def _load(self, device: torch.device) -> Any:
        from diffusers import AutoPipelineForInpainting

        try:
            index = json.loads((self.folder / "model_index.json").read_text(encoding="utf-8"))
            # It would black out backgrounds; nothing drawn here is shown to anyone.
            unchecked = {"safety_checker": None} if "safety_checker" in index else {}
            pipeline = AutoPipelineForInpainting.from_pretrained(
                self.folder,
                torch_dtype=getattr(torch, self.dtype),
                use_safetensors=True,
                **unchecked,
            )
        except (OSError, ValueError, RuntimeError, AttributeError) as error:
            raise UserError(
                f"{_KEY}: cannot load {str(self.folder)!r} for inpainting ({first_line(error)})"
            ) from error
        pipeline.set_progress_bar_config(disable=True)
        return pipeline.to(device)

    def _inpaint(self, pipeline: Any, image: Picture, mask: Mask) -> Picture:
        hole = dilate(mask, self.dilation)
        if hole.all():
            raise no_background()
        resolution = self.resolution or trained_resolution(pipeline)

        def fill(seen: Picture, unseen: Mask) -> Picture:
            seed = hashlib.sha256(seen.tobytes() + unseen.tobytes() + str(self.seed).encode())
            number = int.from_bytes(seed.digest()[:7])
            return at_resolution(seen, unseen, resolution, partial(self._fill, pipeline, number))

        return fill_in_context(image, hole, fill)

    def _fill(self, pipeline: Any, seed: int, image: Picture, hole: Mask) -> Picture:
        """Fills the hole of a square picture at the pipeline's resolution."""
        try:
            output = pipeline(
                prompt=self.prompt,
                negative_prompt=self.negative_prompt,
                image=Image.fromarray(image),
                mask_image=Image.fromarray(hole.astype(np.uint8) * 255),
                height=len(image),
                width=len(image),
                # From pure noise: with less, the subject would be the start.
                strength=1.0,
                num_inference_steps=self.steps,
                guidance_scale=self.guidance,
                generator=torch.Generator().manual_seed(seed),
            )
        except (ValueError, TypeError) as error:
            # So diffusers refuses latents, sizes and arguments that a pipeline cannot take.
            reason = first_line(error)
            raise UserError(f"{_KEY}: {self.source!r} cannot inpaint ({reason})") from error
        return np.asarray(output.images[0].convert("RGB"), dtype=np.uint8)


def trained_resolution(pipeline: Any) -> int:
    """Pixels on a side that a pipeline's denoiser was trained on."""
    size = (getattr(pipeline, "unet", None) or pipeline.transformer).config.sample_size
    return int((size if isinstance(size, int) else min(size)) * pipeline.vae_scale_factor)
