"""Class images: what the frozen backbone draws of the subject's class, for prior preservation."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from rich.progress import track
from safetensors.torch import load_file, save
from torch import Tensor

from idgen.backbones.backbone import Autoencoder, Backbone
from idgen.data.shard import drawing_requests
from idgen.errors import UserError
from idgen.files import atomic_write, check_writable
from idgen.fingerprint import fingerprint_fields
from idgen.locks import locked
from idgen.models.conditioning import TextOnly
from idgen.pictures import save_png
from idgen.placeholders import PLACEHOLDER, filled
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
        prompt = filled(self.prompt, class_noun, f"{_KEY}.prompt")
        sampler = self.sampler or Sampler()
        # Not the count: more images are the same ones and others.
        key = fingerprint_fields(
            backbone=backbone.identity,
            prompt=prompt,
            seed=_salted(self.seed),
            sampler=type(sampler).__name__,
            settings=json.dumps(vars(sampler), sort_keys=True),
        )
        noun = re.sub(r"\W+", "-", class_noun)
        name = f"{noun}-{key[:12]}"
        requests = drawing_requests([(prompt, prompt)], self.count, _salted(self.seed))
        return ClassImageFolder(
            parent.expanduser() / name, requests, sampler, self.batch_size, backbone
        )


def _salted(seed: int) -> int:
    """Another seed, so that no class image starts from a scored drawing's noise."""
    return seed_of("class images", seed)


class ClassImageFolder:
    """One class's images on disk.

    Attributes:
        folder: Where they lie, named after what they are made of.
        prompt: Their prompt.
    """

    def __init__(
        self,
        folder: Path,
        requests: Sequence[DrawingRequest],
        sampler: Sampler,
        batch_size: int,
        backbone: Backbone,
    ) -> None:
        """Looks at nothing yet.

        Args:
            folder: Existing or not.
            requests: The images.
            sampler: How they are drawn.
            batch_size: Images drawn at once.
            backbone: Who draws them.
        """
        self.folder = folder
        self.prompt = requests[0].prompt
        self._requests = list(requests)
        self._sampler = sampler
        self._batch_size = batch_size
        self._backbone = backbone

    def check(self, token: str) -> None:
        """Refuses what could not be drawn.

        Args:
            token: The subject's.

        Raises:
            UserError: If the sampler or the prompt do not fit the backbone, or the prompt is
                blank or names the subject.
        """
        try:
            self._sampler.check(self._backbone)
        except UserError as error:
            raise UserError(f"{_KEY}.sampler: {error}") from error
        ids = set(self._backbone.tokenize([self.prompt]).ids[0].flatten().tolist())
        names_subject = PLACEHOLDER in self.prompt or bool(
            ids & set(self._backbone.word_ids(token))
        )
        if names_subject or not self.prompt.strip():
            raise UserError(
                f"{_KEY}.prompt {self.prompt!r} has to name the class alone, without {PLACEHOLDER} "
                f"and {token!r}, such as 'a photo of a {{class_noun}}'"
            )

    def check_writable(self) -> None:
        """Refuses a folder that cannot be written, without creating anything.

        Raises:
            UserError: If it cannot, or if the disk is full.
        """
        check_writable(self.folder, f"{_KEY}.folder")

    def _latents_path(self, request: DrawingRequest) -> Path:
        return self.folder / f"{request.number:04d}.safetensors"

    def _batches_to_draw(self) -> list[list[DrawingRequest]]:
        """The batches of which an image is missing; whole ones, so that each is always the same."""
        size = self._batch_size
        batches = [self._requests[at : at + size] for at in range(0, len(self._requests), size)]
        return [b for b in batches if not all(self._latents_path(r).exists() for r in b)]

    def is_complete(self) -> bool:
        """Whether all images are there."""
        return not self._batches_to_draw()

    def draw(self, device: torch.device, progress: bool = True) -> None:
        """Draws what is missing; a killed run is gone on with, runs at a time wait for each other.

        Args:
            device: Where to draw.
            progress: Whether to show a progress bar on the terminal (stderr).

        Raises:
            UserError: If the folder cannot be written or the weights cannot be loaded.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / ".lock"):
                self._draw(device, progress)
        except OSError as error:
            raise UserError(
                f"cannot write class images to {self.folder} ({error.strerror or error}); free "
                f"some space, or change {_KEY}.folder"
            ) from error

    def _draw(self, device: torch.device, progress: bool) -> None:
        batches = self._batches_to_draw()
        if not batches:
            return
        backbone = self._backbone
        backbone.load()
        backbone.to(device)
        conditioning = TextOnly(backbone.features)
        shown = track(
            batches,
            description=f"drawing class images: {self.prompt}",
            console=Console(stderr=True),
            disable=not progress,
        )
        with backbone.untuned(), backbone.autoencoder(device) as autoencoder:
            for batch in shown:
                drawings = self._sampler.draw(backbone, conditioning, batch, device)
                self._keep(drawings.images, batch, autoencoder, device)

    def _keep(
        self,
        images: Tensor,
        batch: Sequence[DrawingRequest],
        autoencoder: Autoencoder,
        device: torch.device,
    ) -> None:
        pixels = images.to(device).float() / 127.5 - 1
        latents = encode_latents(autoencoder, pixels)
        for request, image, posterior in zip(batch, images, latents, strict=True):
            path = self._latents_path(request)
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
        shape = torch.Size(self._backbone.latent_shape)
        for request in self._requests:
            path = self._latents_path(request)
            try:
                tensors = load_file(path)
                mean, log_variance = (tensors[name] for name in _LATENTS)
            except Exception as error:  # damaged files fail in many ways
                raise UserError(f"cannot read {path}; delete it, it is then drawn again") from error
            if mean.shape != shape or log_variance.shape != shape:
                raise UserError(f"{path} is of another backbone; delete it")
            yield mean, log_variance
