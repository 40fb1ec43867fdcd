"""A prepared subject, opened: what `idgen prepare` wrote and training reads."""

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load
from torch import Tensor

from idgen.errors import UserError
from idgen.fingerprint import fingerprint_fields
from idgen.masks import Mask
from idgen.prepare.features import TENSORS, features_key
from idgen.prepare.sheet.review import Look
from idgen.prepare.store import CONTACT_PAGE, FORMAT, Store, read_png, stale


@dataclass(frozen=True)
class PreparedFile:
    """A file of a prepared subject.

    Attributes:
        file: Its path inside the folder.
        key: The key it was made under; it carries the same.
        sha256: Of its bytes.
    """

    file: str
    key: str
    sha256: str


@dataclass(frozen=True)
class PreparedPhoto:
    """What was made of one photo.

    Attributes:
        name: The photo's file name.
        digest: SHA-256 of its bytes.
        mask: Its mask: 8 bit, 255 on the subject.
        background: The photo without the subject.
        features: Latents and embeddings of its views.
        look: What the photos of the set are compared by.
        warnings: What looks wrong with its mask, or with it beside the others; empty if nothing
            does.
    """

    name: str
    digest: str
    mask: PreparedFile
    background: PreparedFile
    features: PreparedFile
    look: Look
    warnings: list[str]


@dataclass(frozen=True)
class LeftOut:
    """A photo that is left out, since something could not be made of it.

    Attributes:
        name: The photo's file name.
        digest: SHA-256 of its bytes.
        key: Of what could not be made: with another one it is tried again.
        reason: Why, and the mend.
    """

    name: str
    digest: str
    key: str
    reason: str

    def __str__(self) -> str:
        """For the terminal."""
        return f"{self.name!r}: {self.reason}"


@dataclass(frozen=True)
class SubjectViews:
    """The features of all views of all photos, one view a row, float32.

    Attributes:
        latent_mean: Mean of the autoencoder's posterior, unscaled, `V C h w`.
        latent_log_variance: Its log-variance, `V C h w`.
        photo_embedding: f_p, `V D`.
        background_embedding: f'_i, `V D`.
        subject_mask: The subject's share of each place of the latents, `V 1 h w` in [0, 1].
        photo_digests: The digest of each row's photo, V of them.
    """

    latent_mean: Tensor
    latent_log_variance: Tensor
    photo_embedding: Tensor
    background_embedding: Tensor
    subject_mask: Tensor
    photo_digests: list[str]


@dataclass(frozen=True)
class Index:
    """The contents of `index.json`.

    Attributes:
        photos: Sorted by name.
        views: Names of the views, in the order of each features file's rows.
        resolution: Pixels on a side of a view.
        left_out: Photos that are not among them, sorted by name.
    """

    photos: list[PreparedPhoto]
    views: list[str]
    resolution: int
    left_out: list[LeftOut]

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Index":
        """From plain data.

        Raises:
            KeyError, TypeError: If it is not what `to_json` gives.
        """
        photos = [
            PreparedPhoto(
                **{
                    **photo,
                    **{
                        part: PreparedFile(**photo[part])
                        for part in ("mask", "background", "features")
                    },
                    "look": Look(**{**photo["look"], "colour": tuple(photo["look"]["colour"])}),
                }
            )
            for photo in data["photos"]
        ]
        left_out = [LeftOut(**photo) for photo in data["left_out"]]
        return cls(photos, list(data["views"]), int(data["resolution"]), left_out)


def read_index(store: Store) -> Index | None:
    """The index of a folder; None if it has none, or a damaged one."""
    data = store.read_index()
    if data is None:
        return None
    try:
        return Index.from_json(data)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


class PreparedSubject:
    """Opens a prepared subject; files are read when asked for, and checked then.

    Attributes:
        folder: Where it lies.
        photos: What was made of each photo, sorted by name.
        views: Names of the views of each photo.
        resolution: Pixels on a side of a view.
    """

    def __init__(self, folder: Path) -> None:
        """Reads the index.

        Args:
            folder: The output folder of `idgen prepare`.

        Raises:
            UserError: If there is no complete prepared subject.
        """
        index = read_index(Store(folder))
        if index is None:
            raise UserError(
                f"{str(folder)!r} holds no complete prepared subject: run idgen prepare first"
            )
        self.folder = folder
        self.photos = index.photos
        self.views = index.views
        self.resolution = index.resolution

    @cached_property
    def identity(self) -> str:
        """Hash of all features: two subjects with the same train the same."""
        keys = sorted(photo.features.key for photo in self.photos)
        return fingerprint_fields(features=" ".join(keys))

    @property
    def contact_sheet(self) -> Path:
        """The page to look the masks over by; a picture of the same name lies beside it."""
        return self.folder / CONTACT_PAGE

    def mask(self, photo: PreparedPhoto) -> Mask:
        """The subject's mask of a photo, `H W`.

        Raises:
            UserError: If the file is missing or another photo's.
        """
        return read_png(self.folder / photo.mask.file, photo.mask.key) >= 128

    def background(self, photo: PreparedPhoto) -> NDArray[np.uint8]:
        """The photo without its subject, `H W 3`.

        Raises:
            UserError: If the file is missing or another photo's.
        """
        return read_png(self.folder / photo.background.file, photo.background.key)

    def load_views(self) -> SubjectViews:
        """Reads all features.

        Returns:
            One row a view: all views of the first photo, then of the second, and so on.

        Raises:
            UserError: If a file is missing, damaged, or not the one the index names.
        """
        files = [self._features(photo) for photo in self.photos]
        tensors = {name: torch.cat([file[name] for file in files]) for name in TENSORS}
        digests = [p.digest for p in self.photos for _ in self.views]
        return SubjectViews(**tensors, photo_digests=digests)

    def _features(self, photo: PreparedPhoto) -> dict[str, Tensor]:
        path = self.folder / photo.features.file
        if features_key(path) != photo.features.key:
            raise UserError(stale(path))
        tensors: dict[str, Tensor] = load(path.read_bytes())
        if any(len(tensors.get(name, ())) != len(self.views) for name in TENSORS):
            raise UserError(stale(path))
        return tensors
