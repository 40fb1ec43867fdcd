"""A prepared subject, opened: what `idgen prepare` wrote and training reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from idgen.errors import UserError
from idgen.fingerprint import fingerprint_fields
from idgen.masks import Mask, Picture
from idgen.prepare.buckets import Size
from idgen.prepare.index import FEATURES, Kind, PreparedPhoto
from idgen.prepare.store import Store, read_caption, read_features, read_png
from idgen.prepare.views import frames_of, framing_of, view_named

PerView: TypeAlias = Tensor | tuple[Tensor, ...]
"""Something of each view: one tensor, or a tensor a view where they have several shapes."""


def pick(values: PerView, rows: Sequence[int]) -> Tensor:
    """What some views have, which are of one shape, one a row."""
    if isinstance(values, Tensor):
        return values[list(rows)]
    return torch.stack([values[row] for row in rows])


def stacked(values: PerView) -> Tensor:
    """What all views have, which are of one shape, `V ...`."""
    return pick(values, range(len(values)))


def _joined(parts: Sequence[PerView]) -> PerView:
    """One after the other: one tensor where all are of one shape."""
    shapes = {value.shape for part in parts for value in part}
    if len(shapes) > 1:
        return tuple(value for part in parts for value in part)
    return torch.cat([p if isinstance(p, Tensor) else torch.stack(p) for p in parts])


@dataclass(frozen=True)
class SubjectViews:
    """The features of all views of all photos, one view a row, float32.

    Attributes:
        latent_mean: Mean of the autoencoder's posterior, unscaled, `V C h w`; h and w may differ
            from view to view.
        latent_log_variance: Its log-variance, `V C h w`.
        subject_mask: The subject's share of each place of the latents, `V 1 h w` in [0, 1].
        photo_embedding: f_p, `V D`.
        background_embedding: f'_i, `V D`.
        photo_digests: The digest of each row's photo, V of them.
        framing: Which part of which photo each view shows, `V 6`, where a backbone is told; see
            `TextStates.framing`.
    """

    latent_mean: PerView
    latent_log_variance: PerView
    subject_mask: PerView
    photo_embedding: Tensor
    background_embedding: Tensor
    photo_digests: list[str]
    framing: Tensor | None = None

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """(h, w) of each view's latents."""
        return [tuple(mean.shape[-2:]) for mean in self.latent_mean]

    def plain_backgrounds(self) -> Tensor:
        """f'_i of each photo's plain view, which is its first, `P D`."""
        rows = [self.photo_digests.index(digest) for digest in dict.fromkeys(self.photo_digests)]
        return self.background_embedding[rows]

    def then(self, other: "SubjectViews") -> "SubjectViews":
        """These rows, and another's after them."""
        both: dict[str, Any] = {
            name: _joined([value, getattr(other, name)])
            for name, value in vars(self).items()
            if name not in ("framing", "photo_digests")
        }
        if self.framing is not None or other.framing is not None:
            both["framing"] = torch.cat([self._framing(), other._framing()])
        return SubjectViews(**both, photo_digests=self.photo_digests + other.photo_digests)

    def _framing(self) -> Tensor:
        """Zeros where nothing is said: whole pictures."""
        return torch.zeros(len(self.photo_digests), 6) if self.framing is None else self.framing


class PreparedSubject:
    """Opens a prepared subject; files are read when asked for, and checked then.

    Attributes:
        folder: Where it lies.
        photos: What was made of each photo, sorted by name.
        views: Names of the views of each photo.
    """

    def __init__(self, folder: Path) -> None:
        """Reads the index.

        Raises:
            UserError: If there is no complete prepared subject.
        """
        index = Store(folder).index()
        if index is None:
            raise UserError(
                f"{str(folder)!r} holds no complete prepared subject: run idgen prepare first"
            )
        self.folder = folder
        self.photos = index.photos
        self.views = index.views
        self._resolution = index.resolution

    @cached_property
    def identity(self) -> str:
        """Hash of all features: two subjects with the same train the same."""
        keys = sorted(photo.files[kind].key for photo in self.photos for kind in FEATURES)
        return fingerprint_fields(features=" ".join(keys))

    def path(self, photo: PreparedPhoto, kind: Kind) -> Path:
        """A photo's file of a kind."""
        return Store(self.folder).path(kind, photo.files[kind].key)

    def mask(self, photo: PreparedPhoto) -> Mask:
        """The subject's mask of a photo, `H W`; a UserError if it is missing or another's."""
        return read_png(self.path(photo, "masks"), photo.files["masks"].key) >= 128

    def background(self, photo: PreparedPhoto) -> Picture:
        """The photo without its subject, `H W 3`; a UserError if it is missing or another's."""
        return read_png(self.path(photo, "backgrounds"), photo.files["backgrounds"].key)

    def caption(self, photo: PreparedPhoto) -> str | None:
        """What the captioner says of a photo's scene, such as "on a purple rug".

        Returns:
            A phrase, empty where the captioner names no scene; None if there was no captioner.

        Raises:
            UserError: If its file is missing or another's.
        """
        if "captions" not in photo.files:
            return None
        return read_caption(self.path(photo, "captions"), photo.files["captions"].key)

    def load_views(self) -> SubjectViews:
        """All features, one row a view: first all views of the first photo, and so on.

        Raises:
            UserError: If a file is missing, damaged, or not the one the index names.
        """
        tensors: dict[str, Any] = {}
        for kind in FEATURES:
            files = [read_features(self.path(p, kind), p.files[kind].key) for p in self.photos]
            tensors |= {name: _joined([file[name] for file in files]) for name in files[0]}
        digests = [photo.digest for photo in self.photos for _ in self.views]
        return SubjectViews(**tensors, photo_digests=digests)

    def load_framing(self) -> Tensor:
        """Which part of its photo each row of `load_views` shows, `V 6`; see `framing_of`.

        Raises:
            UserError: If a mask is missing or another's.
        """
        views = [view_named(name) for name in self.views]
        rows = []
        for photo in self.photos:
            mask = self.mask(photo)
            height, width = mask.shape
            size = photo.size or Size(self._resolution, self._resolution)
            frames = frames_of(views, mask, photo.digest, size.width / size.height)
            rows += [framing_of(frame, height, width, size) for frame in frames]
        return torch.tensor(rows, dtype=torch.float32)
