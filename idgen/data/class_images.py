"""Class images: what the frozen backbone draws of the subject's class, for prior preservation."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from idgen.backbones.backbone import Backbone
from idgen.backbones.latents import Autoencoder
from idgen.data.backbone_drawings import BackboneDrawings, drawn_by
from idgen.data.batch import PriorBatch
from idgen.data.shard import drawing_requests
from idgen.data.stream import EndlessOrder
from idgen.errors import UserError
from idgen.files import atomic_write
from idgen.pictures import save_png
from idgen.placeholders import filled
from idgen.prepare.features import encode_latents
from idgen.sampling import DrawingRequest, Sampler
from idgen.seeds import seed_of

_KEY = "data.prior"
_LATENTS = ("latent_mean", "latent_log_variance")


class ClassLatents(NamedTuple):
    """The autoencoder's posterior of the class images.

    Attributes:
        latent_mean: Unscaled, `C c h w` of C images.
        latent_log_variance: `C c h w`.
    """

    latent_mean: Tensor
    latent_log_variance: Tensor


class ClassRows(NamedTuple):
    """What batches take class images from.

    Attributes:
        latents: Of all of them.
        prompt: Their prompt.
        order: Whose turn it is.
    """

    latents: ClassLatents
    prompt: str
    order: EndlessOrder

    def batch(self, position: int) -> PriorBatch:
        """The class images of this process's batch at a position."""
        chosen = torch.tensor(self.order.indices(position))
        latents = self.latents
        return PriorBatch(
            latents.latent_mean[chosen],
            latents.latent_log_variance[chosen],
            (self.prompt,) * len(chosen),
        )


@dataclass
class ClassImages:
    """Images of a class that the backbone drew itself, without what it learnt of the subject.

    They are the prior that DreamBooth preserves (Ruiz et al. 2023, eq. 2). They belong to a class
    and a backbone, not to a subject, and are drawn once: a picture and a file of latents each.

    Attributes:
        count: How many.
        prompt: What is drawn, with `{class_noun}` in it.
        sampler: How; None for idgen's usual way.
        seed: Of the drawings.
        batch_size: Images drawn at once.
        folder: Where they are kept, a folder in it for each class, backbone and way of drawing;
            by default `class_images/` beside the prepared subject.
    """

    count: int = 100
    prompt: str = "a photo of a {class_noun}"
    sampler: Sampler | None = None
    seed: int = 0
    batch_size: int = 8
    folder: str | None = None

    def __post_init__(self) -> None:
        """Refuses numbers below 1.

        Raises:
            ValueError: If there is one.
        """
        if self.count < 1 or self.batch_size < 1:
            raise ValueError("data.prior: count and batch_size must be 1 or more")

    def of(self, class_noun: str, backbone: Backbone, prepared: Path) -> "ClassImageFolder":
        """The folder of a class's images.

        Args:
            class_noun: Such as `dog`.
            backbone: Who draws them, and whose latents are kept.
            prepared: The prepared subject's folder.
        """
        parent = prepared.parent / "class_images" if self.folder is None else Path(self.folder)
        prompt = filled(self.prompt, class_noun, "data.prior.prompt")
        sampler = self.sampler or Sampler()
        # Not the count: more images are the same ones and others.
        key = drawn_by(backbone, sampler, prompt=prompt, seed=_salted(self.seed))
        noun = re.sub(r"\W+", "-", class_noun)
        name = f"{noun}-{key[:12]}"
        requests = drawing_requests([(prompt, prompt)], self.count, _salted(self.seed))
        return ClassImageFolder(
            parent.expanduser() / name, requests, sampler, self.batch_size, backbone
        )


def _salted(seed: int) -> int:
    """Another seed, so that no class image starts from a scored drawing's noise."""
    return seed_of("class images", seed)


class ClassImageFolder(BackboneDrawings):
    """One class's images on disk: a picture and a file of latents each."""

    key = "data.prior"
    what = "class images"

    @property
    def prompt(self) -> str:
        """Their prompt."""
        return self._requests[0].prompt

    def check(self, token: str) -> None:
        """Refuses what could not be drawn.

        Args:
            token: The subject's.

        Raises:
            UserError: If the sampler or the prompt do not fit the backbone, or the prompt is
                blank or names the subject.
        """
        super().check(token)
        self.check_prompt("prompt", self.prompt, token)

    def path(self, request: DrawingRequest) -> Path:
        """The file of an image's latents."""
        return self.folder / f"{request.number:04d}.safetensors"

    def keep(
        self,
        images: Tensor,
        batch: Sequence[DrawingRequest],
        autoencoder: Autoencoder,
        device: torch.device,
    ) -> None:
        """Writes pictures, and their latents."""
        pixels = images.to(device).float() / 127.5 - 1
        latents = encode_latents(autoencoder, pixels)
        for request, image, posterior in zip(batch, images, latents, strict=True):
            path = self.path(request)
            save_png(image, path.with_suffix(".png"))
            # Last: by this file the image counts as drawn.
            tensors = {n: t.contiguous() for n, t in zip(_LATENTS, posterior, strict=True)}
            atomic_write(path, save(tensors))

    def load(self) -> ClassLatents:
        """Reads the latents of all images.

        Raises:
            UserError: If a file is missing or damaged.
        """
        mean, log_variance = zip(*self._read(), strict=True)
        return ClassLatents(torch.stack(mean), torch.stack(log_variance))

    def _read(self) -> Iterator[tuple[Tensor, Tensor]]:
        shape = torch.Size(self._sampler.latent_shape(self.backbone))
        for request in self._requests:
            path = self.path(request)
            try:
                tensors = load_file(path)
                mean, log_variance = (tensors[name] for name in _LATENTS)
            except Exception as error:  # damaged files fail in many ways
                raise UserError(f"cannot read {path}; delete it, it is then drawn again") from error
            if mean.shape != shape or log_variance.shape != shape:
                raise UserError(f"{path} is of another backbone; delete it")
            yield mean, log_variance
