"""Latents and embeddings of a photo's views, each keyed by what it is computed from."""

import gc
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import torch
from safetensors.torch import load, save
from torch import Tensor

from idgen.backbones.backbone import Autoencoder
from idgen.fingerprint import fingerprint_fields
from idgen.prepare.photos import UnfitPhotoError
from idgen.prepare.views import VERSION, View, batches

METADATA = "idgen"
FILE_VERSION = 2
"""Part of every features file's key: raise it when a file's tensors or masks become others."""
TENSORS = (
    "latent_mean",
    "latent_log_variance",
    "photo_embedding",
    "background_embedding",
    "subject_mask",
)

Encode: TypeAlias = Callable[[Tensor], Tensor]
Parts: TypeAlias = dict[str, tuple[Tensor, ...]]
"""Key of a latent or an embedding to (mean, log-variance) `C h w` each, or (embedding,) `D`."""


class LatentBackbone(Protocol):
    """What preparation needs of a backbone."""

    source: str
    resolution: int
    dtype: torch.dtype

    @property
    def identity(self) -> str:
        """Hash of the files it is made of."""
        ...

    def autoencoder(self, device: torch.device) -> AbstractContextManager[Autoencoder]:
        """The autoencoder, in memory only inside the context."""
        ...


@dataclass(frozen=True)
class ViewKeys:
    """Keys of what is computed of one view of one photo.

    Attributes:
        latents: Of the autoencoder's posterior of the photo.
        photo_embedding: Of f_p.
        background_embedding: Of f'_i.
    """

    latents: str
    photo_embedding: str
    background_embedding: str


@dataclass(frozen=True)
class FeatureKeys:
    """Keys of all that one photo's features file holds.

    Attributes:
        view_names: The views, in order.
        views: Their keys.
    """

    view_names: tuple[str, ...]
    views: tuple[ViewKeys, ...]

    @cached_property
    def key(self) -> str:
        """The file's own key: a hash of all of them.

        The subject's masks need no keys of their own: what makes them is in the latents' keys.
        """
        views = json.dumps([self.view_names, *map(astuple, self.views)])
        return fingerprint_fields(views=views, version=FILE_VERSION)


@dataclass(frozen=True)
class FeatureRecipe:
    """What, beside the pictures, decides the features.

    Attributes:
        autoencoder: Identity of the backbone whose autoencoder encodes.
        image_encoder: Identity of E_I.
        dtype: The backbone's precision, which E_I has too; see `working_dtype`.
        resolution: Pixels on a side of a view.
        views: The views.
    """

    autoencoder: str
    image_encoder: str
    dtype: torch.dtype
    resolution: int
    views: tuple[View, ...]

    def keys(self, digest: str, mask_key: str, background_key: str) -> FeatureKeys:
        """The keys of a photo's features; the mask counts because it places the square.

        Args:
            digest: The photo's.
            mask_key: Its mask's key.
            background_key: Its background's key.
        """
        together = {
            self.views[place].name: ", ".join(self.views[other].name for other in batch)
            for batch in batches(self.views)
            for place in batch
        }

        def key(model: str, picture: str, view: View, dtype: torch.dtype) -> str:
            return fingerprint_fields(
                model=model,
                dtype=str(dtype),
                picture=picture,
                mask=mask_key,
                view=view.name,
                batch=together[view.name],
                resolution=self.resolution,
                version=VERSION,
            )

        return FeatureKeys(
            tuple(view.name for view in self.views),
            tuple(
                ViewKeys(
                    # Backbones keep their autoencoders in float32.
                    key(self.autoencoder, digest, view, torch.float32),
                    key(self.image_encoder, digest, view, self.dtype),
                    key(self.image_encoder, background_key, view, self.dtype),
                )
                for view in self.views
            ),
        )


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
    if not (mean.isfinite().all() and log_variance.isfinite().all()):
        raise UnfitPhotoError(
            "the backbone's autoencoder gives values that are not finite; "
            "set the backbone's dtype to float32 or bfloat16"
        )
    return list(zip(mean, log_variance, strict=True))


@torch.inference_mode()
def encode_images(encode: Encode, pixels: Tensor) -> list[tuple[Tensor]]:
    """E_I of a batch of views.

    Args:
        encode: The loaded image encoder.
        pixels: `B 3 H W` in [-1, 1].

    Returns:
        Of each, `D`, float32 on the CPU.

    Raises:
        UnfitPhotoError: If they are not finite, as in half precision where that overflows.
    """
    embeddings = encode(pixels).float().cpu()
    if not embeddings.isfinite().all():
        raise UnfitPhotoError(
            "the image encoder gives values that are not finite; set the backbone's dtype, which "
            "is the encoder's too, to float32 or bfloat16"
        )
    return [(embedding,) for embedding in embeddings]


def working_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """What E_I computes in: the backbone's precision, but float32 on a CPU.

    There half precision saves no time. What a CPU computes under a half precision's key is more
    exact than need be, so features go from one machine to the other as they are.

    Args:
        dtype: The backbone's.
        device: Where E_I runs.
    """
    return torch.float32 if device.type == "cpu" else dtype


def free(device: torch.device) -> None:
    """Gives the accelerator's memory back after a model has gone out of use."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()


def features_bytes(keys: FeatureKeys, parts: Parts, subject_masks: Tensor) -> bytes:
    """A photo's features file: the tensors of all its views, stacked.

    Args:
        keys: The photo's keys.
        parts: Holds at least these.
        subject_masks: The subject's share of each place of the latents, `V 1 h w` in [0, 1].

    Returns:
        A safetensors file of `latent_mean` and `latent_log_variance` `V C h w`,
        `photo_embedding` and `background_embedding` `V D`, and `subject_mask` `V 1 h w`; its
        metadata holds the keys.
    """
    latents = [parts[view.latents] for view in keys.views]
    tensors = {
        "latent_mean": torch.stack([mean for mean, _ in latents]),
        "latent_log_variance": torch.stack([log_variance for _, log_variance in latents]),
        "photo_embedding": torch.stack([parts[v.photo_embedding][0] for v in keys.views]),
        "background_embedding": torch.stack([parts[v.background_embedding][0] for v in keys.views]),
        "subject_mask": subject_masks,
    }
    description = {
        "key": keys.key,
        "views": list(keys.view_names),
        "parts": [list(astuple(view)) for view in keys.views],
    }
    # One entry only: the format does not keep several in a fixed order.
    content: bytes = save(tensors, {METADATA: json.dumps(description, sort_keys=True)})
    return content


def features_key(path: Path) -> str | None:
    """The key that a features file was written under; None if it is no whole features file."""
    try:
        key = _read(path)[1]["key"]
    except Exception:  # anything wrong means: not one of ours
        return None
    return key if isinstance(key, str) else None


def read_parts(path: Path) -> Parts:
    """All latents and embeddings of a features file, by their keys.

    Args:
        path: A file for which `features_key` gives a key.
    """
    parts: Parts = {}
    tensors, description = _read(path)
    mean, log_variance, photo, background = (tensors[name] for name in TENSORS[:4])
    for index, (latents, photo_key, background_key) in enumerate(description["parts"]):
        parts[latents] = (mean[index], log_variance[index])
        parts[photo_key] = (photo[index],)
        parts[background_key] = (background[index],)
    return parts


def plain_embeddings(path: Path) -> tuple[Tensor, Tensor]:
    """f_p and f'_i of the plain view, `D` each, of a whole features file."""
    tensors, _ = _read(path)
    photo, background = (tensors[name][0] for name in TENSORS[2:4])
    return photo, background


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the description of a whole features file.

    From its bytes: safetensors takes no path that is not UTF-8, and gives no metadata of bytes.
    """
    content = path.read_bytes()
    tensors: dict[str, Tensor] = load(content)
    # A file starts with the length of its JSON header.
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return tensors, json.loads(header["__metadata__"][METADATA])
