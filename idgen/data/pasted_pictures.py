"""Pictures that are pasted together once, before training: a picture and its features each."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from idgen import opencv as cv2
from idgen.backbones.backbone import Backbone
from idgen.data.pasting import Pasted
from idgen.devices import free
from idgen.errors import UserError
from idgen.files import atomic_write
from idgen.locks import locked
from idgen.masks import Picture
from idgen.pictures import save_png
from idgen.prepare import Preparation, SubjectViews
from idgen.prepare.features import encode_images, encode_latents, working_dtype

_TENSORS = (
    "latent_mean",
    "latent_log_variance",
    "subject_mask",
    "photo_embedding",
    "background_embedding",
)


class PastedPictures(ABC):
    """Pasted pictures on disk: a picture and a file of features each.

    Attributes:
        folder: Where they lie, named after what they are made of.
        what: What they are called, such as `composites`; `data.` and this is their key.
        count: How many there are.
    """

    folder: Path
    what: str

    def __init__(self, count: int, preparation: Preparation, backbone: Backbone) -> None:
        """Takes what makes features of them; nothing is made yet."""
        self.count = count
        self._preparation = preparation
        self._backbone = backbone
        self._side = preparation.resolution or backbone.resolution

    @abstractmethod
    def _paste(self, number: int) -> tuple[Pasted, Picture]:
        """One of them, and its background, `R R 3` both."""

    @abstractmethod
    def _digest(self, number: int) -> str:
        """The digest of the photo that one is of."""

    def _encoders(self) -> dict[str, str]:
        """What decides the features of a picture, for keys."""
        return {
            "autoencoder": self._backbone.identity,
            "image_encoder": self._preparation.image_encoder.identity,
            "dtype": str(self._backbone.dtype),
        }

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:04d}.safetensors"

    def _missing(self) -> list[int]:
        return [n for n in range(self.count) if not self._path(n).exists()]

    def is_complete(self) -> bool:
        """Whether all are there."""
        return not self._missing()

    def make(self, device: torch.device) -> None:
        """Makes what is missing; a killed run is gone on with, runs at a time wait for each other.

        Args:
            device: Where models run.

        Raises:
            UserError: If the folder cannot be written or a model cannot be loaded.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / ".lock"):
                self._make(self._missing(), device)
        except OSError as error:
            raise UserError(
                f"cannot write {self.what} to {self.folder} ({error.strerror or error}); free some "
                f"space, or change data.{self.what}.folder"
            ) from error

    def _make(self, numbers: Sequence[int], device: torch.device) -> None:
        if not numbers:
            return
        pasted = {number: self._paste(number) for number in numbers}
        latents: dict[int, tuple[Tensor, Tensor]] = {}
        with self._backbone.autoencoder(device) as autoencoder:
            for number, (composite, _) in pasted.items():
                pixels = _pixels(composite.picture).to(device)
                [latents[number]] = encode_latents(autoencoder, pixels[None])
        free(device)
        dtype = working_dtype(self._backbone.dtype, device)
        with self._preparation.image_encoder.loaded(device, dtype) as encode:
            for number, (composite, empty) in pasted.items():
                both = torch.stack([_pixels(composite.picture), _pixels(empty)])
                embeddings = encode_images(encode, both)
                mean, log_variance = latents[number]
                height, width = mean.shape[-2:]
                share = cv2.resize(composite.alpha, (width, height), interpolation=cv2.INTER_AREA)
                mask = torch.from_numpy(share).clamp(0, 1)[None]
                self._keep(number, composite, (mean, log_variance, mask, *embeddings))
        free(device)

    def _keep(self, number: int, composite: Pasted, parts: Sequence[Tensor]) -> None:
        picture = torch.from_numpy(composite.picture).permute(2, 0, 1).contiguous()
        save_png(picture, self._path(number).with_suffix(".png"))
        # Last: by this file the picture counts as made.
        tensors = {name: part.contiguous() for name, part in zip(_TENSORS, parts, strict=True)}
        atomic_write(self._path(number), save(tensors))

    def load_views(self) -> SubjectViews:
        """Reads the features of all, one a row.

        Raises:
            UserError: If a file is missing or damaged.
        """
        rows = [self._read(number) for number in range(self.count)]
        stacked = {name: torch.stack([row[name] for row in rows]) for name in _TENSORS}
        digests = [self._digest(number) for number in range(self.count)]
        return SubjectViews(**stacked, photo_digests=digests)

    def _read(self, number: int) -> dict[str, Tensor]:
        path = self._path(number)
        try:
            tensors = load_file(path)
            return {name: tensors[name] for name in _TENSORS}
        except Exception as error:  # damaged files fail in many ways
            raise UserError(f"cannot read {path}; delete it, it is then made again") from error


def _pixels(picture: Picture) -> Tensor:
    """`R R 3`, uint8, as models take it: `3 R R` in [-1, 1]."""
    return torch.from_numpy(picture).permute(2, 0, 1).float() / 127.5 - 1
