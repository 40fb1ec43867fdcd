"""Latents and embeddings of a photo's views, and what decides them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from idgen.backbones.latents import Autoencoder
from idgen.errors import UserError
from idgen.fingerprint import fingerprint_fields
from idgen.prepare.buckets import AspectBuckets, Size, closest
from idgen.prepare.photos import UnfitPhotoError
from idgen.prepare.views import VERSION, View

Encode: TypeAlias = Callable[[Tensor], Tensor]


class LatentBackbone(Protocol):
    """What preparation needs of a backbone."""

    source: str
    resolution: int
    dtype: torch.dtype

    @property
    def unit(self) -> int:
        """Pixels on a side of one of its patches: sides of pictures are multiples of it."""
        ...

    @property
    def longest_side(self) -> int | None:
        """Pixels on a side of its largest pictures; None where nothing bounds them."""
        ...

    @property
    def identity(self) -> str:
        """Hash of the files it is made of."""
        ...

    def autoencoder(self, device: torch.device) -> AbstractContextManager[Autoencoder]:
        """The autoencoder, in memory only inside the context."""
        ...


@dataclass(frozen=True)
class FeatureRecipe:
    """What, beside the pictures, decides the features.

    Attributes:
        autoencoder: Identity of the backbone whose autoencoder encodes, in float32.
        image_encoder: Identity of E_I.
        dtype: The backbone's precision, which E_I has too; see `working_dtype`.
        resolution: Pixels on a side of a square view.
        views: The views.
        sizes: Those that views may have, one or more; a photo's have the one of nearest aspect.
    """

    autoencoder: str
    image_encoder: str
    dtype: torch.dtype
    resolution: int
    views: tuple[View, ...]
    sizes: tuple[Size, ...]

    def size_of(self, height: int, width: int) -> Size:
        """The size of a photo's views, by the photo's own."""
        return closest(self.sizes, height, width)

    def latents_key(self, digest: str, mask_key: str, size: Size) -> str:
        """The key of a photo's latents; the mask counts because it places the views."""
        return self._key(size, latents=self.autoencoder, photo=digest, mask=mask_key)

    def embeddings_key(self, digest: str, background_key: str, size: Size) -> str:
        """The key of a photo's f_p and f'_i; its mask's key is in the background's."""
        fields = {"embeddings": self.image_encoder, "dtype": str(self.dtype)}
        return self._key(size, **fields, photo=digest, background=background_key)

    def _key(self, size: Size, **fields: str) -> str:
        names = ", ".join(view.name for view in self.views)
        # A square view is the same with buckets and without.
        shape = {} if size == (self.resolution,) * 2 else size._asdict()
        return fingerprint_fields(
            **fields, **shape, views=names, resolution=self.resolution, version=VERSION
        )


def view_sizes(
    resolution: int | None, buckets: AspectBuckets | None, backbone: LatentBackbone
) -> tuple[Size, ...]:
    """The sizes that views may have.

    Args:
        resolution: Pixels on a side of a square view; None for the backbone's own.
        buckets: For views in the photos' shapes; None for squares.
        backbone: Who takes them.

    Raises:
        UserError: If one is not in whole patches of the backbone, or is too large for it.
    """
    side, unit, most = resolution or backbone.resolution, backbone.unit, backbone.longest_side
    if side % unit:
        near = {max(unit, side // unit * unit), (side // unit + 1) * unit}
        raise UserError(
            f"preparation.resolution: {side} is no multiple of {unit}, the pixels on a side of a "
            f"patch of {backbone.source!r}; give {' or '.join(map(str, sorted(near)))}, or null "
            "for the backbone's own"
        )
    sizes = (Size(side, side),) if buckets is None else buckets.sizes(side, unit)
    largest = max(max(size) for size in sizes)
    if most is not None and largest > most:
        mend = "" if largest == side else ", or a lower buckets.max_aspect"
        raise UserError(
            f"preparation.resolution: views have up to {largest} pixels on a side, and "
            f"{backbone.source!r} has places for {most}; give a smaller one{mend}"
        )
    return sizes


@torch.inference_mode()
def encode_latents(autoencoder: Autoencoder, pixels: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The autoencoder's posterior of a batch of views.

    Args:
        autoencoder: The backbone's.
        pixels: `B 3 H W` in [-1, 1], on the autoencoder's device.

    Returns:
        Of each, mean and log-variance, `C h w`, unscaled, float32 on the CPU.

    Raises:
        UnfitPhotoError: If they are not finite, as in half precision where that overflows.
    """
    mean, log_variance = (part.float().cpu() for part in autoencoder.encode(pixels))
    _check_finite(mean, "backbone's autoencoder")
    _check_finite(log_variance, "backbone's autoencoder")
    return list(zip(mean, log_variance, strict=True))


@torch.inference_mode()
def encode_images(encode: Encode, pixels: Tensor) -> Tensor:
    """E_I of a batch of views `B 3 H W` in [-1, 1]: `B D`, float32 on the CPU.

    Raises:
        UnfitPhotoError: If they are not finite, as in half precision where that overflows.
    """
    embeddings = encode(pixels).float().cpu()
    _check_finite(embeddings, "image encoder")
    return embeddings


def _check_finite(values: Tensor, model: str) -> None:
    if not values.isfinite().all():
        raise UnfitPhotoError(
            f"the {model} gives values that are not finite; set the backbone's dtype, which is "
            "the image encoder's too, to float32 or bfloat16"
        )


def working_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """What E_I computes in: the backbone's precision, but float32 on a CPU.

    There half precision saves no time. What a CPU computes under a half precision's key is more
    exact than need be, so features go from one machine to the other as they are.
    """
    return torch.float32 if device.type == "cpu" else dtype
