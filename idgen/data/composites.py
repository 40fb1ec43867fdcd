"""Composites: the subject, cut out by its mask, pasted into backgrounds that are not its own."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import Tensor

from idgen.backbones.backbone import Backbone
from idgen.data.scene_images import SceneBackground, SceneFolder
from idgen.devices import free
from idgen.errors import UserError
from idgen.files import atomic_write, check_writable
from idgen.fingerprint import fingerprint_fields
from idgen.locks import locked
from idgen.masks import Mask, Picture
from idgen.pictures import save_png
from idgen.prepare import Preparation, PreparedSubject, SubjectViews
from idgen.prepare.features import encode_images, encode_latents, working_dtype
from idgen.prepare.views import crop_box, cut_square, subject_extent
from idgen.seeds import seed_of

_KEY = "data.composites"
_VERSION = 1
_TENSORS = (
    "latent_mean",
    "latent_log_variance",
    "subject_mask",
    "photo_embedding",
    "background_embedding",
)


class Pasted(NamedTuple):
    """A subject in a background.

    Attributes:
        picture: `R R 3`, uint8.
        alpha: How much of each place is the subject's, `R R` in [0, 1].
    """

    picture: Picture
    alpha: NDArray[np.float32]


def paste(
    photo: Picture,
    mask: Mask,
    background: Picture,
    rng: random.Random,
    scale: tuple[float, float] = (0.7, 1.1),
    shift: float = 0.15,
    edge: float = 0.01,
    flip: bool = True,
) -> Pasted:
    """Pastes a photo's subject into a background.

    The edge fades inwards from the mask's, so that nothing beside the subject comes along.

    Args:
        photo: `H W 3`.
        mask: Its subject, `H W`, not empty.
        background: `R R 3`.
        rng: Draws size, place and direction.
        scale: Least and largest size, in sizes of the subject in the plain view of its photo; one
            that would not fit is made to.
        shift: How far it may move from its place there, in sides of the picture, each way.
        edge: Width of the fading edge, as a share of the side; 0 for a hard one.
        flip: Whether left and right may change places.
    """
    side = len(background)
    left, top, across = crop_box(mask)
    own = cut_square(photo, left, top, across)
    shape = cut_square(mask.astype(np.uint8), left, top, across, beyond="constant")
    if flip and rng.random() < 0.5:
        own, shape = own[:, ::-1], shape[:, ::-1]
    (first, last), (begin, end) = subject_extent(shape > 0)
    size = min(rng.uniform(*scale) * side / across, side / max(last - first, end - begin))
    # Where its middle goes, from where it is in the photo.
    middle = [(first + last) / 2 / across, (begin + end) / 2 / across]
    middle = [place + rng.uniform(-shift, shift) for place in middle]
    half = [size * (last - first) / 2, size * (end - begin) / 2]
    row, column = (
        min(max(place * side, reach), side - reach)
        for place, reach in zip(middle, half, strict=True)
    )
    move = np.array(
        [[size, 0, column - size * (begin + end) / 2], [0, size, row - size * (first + last) / 2]]
    )
    alpha, colours = _moved(own, shape, move, side)
    alpha = _faded(alpha, edge * side)
    mixed = alpha[..., None] * colours + (1 - alpha[..., None]) * background
    return Pasted(mixed.round().clip(0, 255).astype(np.uint8), alpha)


def _moved(
    picture: Picture, shape: Picture, move: NDArray[np.float64], side: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The subject's share of each place, and its colours there, unmixed with what is beside it."""
    # Means over the areas of places, by a grid four times as fine: sharp, and no pixel is skipped.
    fine = 4 * move
    # A pixel is numbered by its corner in `move`, by its middle in OpenCV.
    fine[:, 2] += fine[0, 0] / 2 - 0.5
    held = shape.astype(np.float32)
    layers = np.dstack([picture.astype(np.float32) * held[..., None], held])
    warped = cv2.warpAffine(layers, fine, (4 * side, 4 * side), flags=cv2.INTER_NEAREST)
    reduced = np.asarray(cv2.resize(warped, (side, side), interpolation=cv2.INTER_AREA), np.float32)
    share: NDArray[np.float32] = np.clip(reduced[..., 3], 0, 1)
    colours = reduced[..., :3] / np.maximum(share, 1e-6)[..., None]
    return share, colours.astype(np.float32)


def _faded(alpha: NDArray[np.float32], width: float) -> NDArray[np.float32]:
    """The same with an edge that fades inwards over about a width in pixels."""
    if not width:
        return alpha
    # A blurred edge is at one half where the edge was.
    blurred = np.asarray(cv2.GaussianBlur(alpha, (0, 0), width), np.float32)
    faded: NDArray[np.float32] = np.minimum(alpha, np.clip(2 * blurred - 1, 0, 1))
    return faded


class CompositeViews(NamedTuple):
    """The features of the composites.

    Attributes:
        views: One a row; `photo_digests` are those of the photos whose subject was pasted.
        prompts: What the backbone had drawn where each background comes from, its scene named.
    """

    views: SubjectViews
    prompts: list[str]


@dataclass
class Composites:
    """The subject in backgrounds that are not its own, made once, as more views to train on.

    In the photos a background always comes with the same few pixels of the subject; here f'_i of
    one tells nothing of it. The backgrounds are those of `data.scenes`. Cutting an object out and
    pasting it is an augmentation of detection (Dwibedi et al. 2017, arXiv 1708.01642).

    Attributes:
        share: Which share of a batch's rows are composites, in the mean.
        count: How many there are.
        scale: Least and largest size of the subject, in its sizes in the photos' plain views.
        shift: How far it may move from its place there, in sides of the picture.
        edge: Width of its fading edge, as a share of the side.
        seed: Of photos, backgrounds, sizes and places.
        folder: Where they are kept; by default `composites/` beside the prepared subject.
    """

    share: float = 0.5
    count: int = 96
    scale: tuple[float, float] = (0.7, 1.1)
    shift: float = 0.15
    edge: float = 0.01
    seed: int = 0
    folder: str | None = None

    def __post_init__(self) -> None:
        """Refuses numbers out of range.

        Raises:
            ValueError: If there is one.
        """
        if not 0 < self.share <= 1:
            raise ValueError("data.composites: share must be above 0 and at most 1")
        if self.count < 1:
            raise ValueError("data.composites: count must be 1 or more")
        if not 0 < self.scale[0] <= self.scale[1] <= 4:
            raise ValueError("data.composites: scale must be two sizes, above 0, at most 4, rising")
        if not 0 <= self.shift <= 1 or not 0 <= self.edge <= 0.2:
            raise ValueError("data.composites: shift must be from 0 to 1, edge from 0 to 0.2")

    def of(
        self, subject: PreparedSubject, pixels: Callable[[str], Picture], scenes: SceneFolder
    ) -> "CompositeFolder":
        """The folder of a subject's composites.

        Args:
            subject: Prepared.
            pixels: Reads the photo of a digest.
            scenes: Whose backgrounds are taken, made.
        """
        parent = subject.folder.parent / "composites" if self.folder is None else self.folder
        return CompositeFolder(Path(parent).expanduser(), self, subject, pixels, scenes)

    def check_writable(self, prepared: Path) -> None:
        """Refuses a folder that cannot be written, without creating anything.

        Args:
            prepared: The prepared subject's folder.

        Raises:
            UserError: If it cannot, or if the disk is full.
        """
        folder = prepared.parent if self.folder is None else Path(self.folder).expanduser()
        check_writable(folder, f"{_KEY}.folder")


class CompositeFolder:
    """One subject's composites on disk: a picture and a file of features each.

    Attributes:
        folder: Where they lie, named after what they are made of.
        share: Which share of a batch's rows are composites, in the mean.
    """

    def __init__(
        self,
        parent: Path,
        settings: Composites,
        subject: PreparedSubject,
        pixels: Callable[[str], Picture],
        scenes: SceneFolder,
    ) -> None:
        """Reads the backgrounds.

        Args:
            parent: Where the folder lies, existing or not.
            settings: What they are to be.
            subject: Prepared.
            pixels: Reads the photo of a digest.
            scenes: Whose backgrounds are taken, made.

        Raises:
            UserError: If a background is missing or damaged.
        """
        self._settings = settings
        self.share = settings.share
        self._subject = subject
        self._pixels = pixels
        self._preparation: Preparation = scenes.preparation
        self._backbone: Backbone = scenes.backbone
        self._backgrounds: list[SceneBackground] = scenes.backgrounds()
        self._side = self._preparation.resolution or self._backbone.resolution
        self.folder = parent / f"{subject.folder.name}-{self._key()[:12]}"

    def _key(self) -> str:
        """Of all that decides a composite, but their number: more are the same ones and others."""
        made = self._settings
        photos = sorted((p.digest, p.files["masks"].key) for p in self._subject.photos)
        return fingerprint_fields(
            version=_VERSION,
            photos=" ".join(f"{digest} {key}" for digest, key in photos),
            backgrounds=" ".join(background.key for background in self._backgrounds),
            scale=" ".join(map(str, made.scale)),
            shift=made.shift,
            edge=made.edge,
            flip=self._preparation.flip,
            seed=made.seed,
            side=self._side,
            autoencoder=self._backbone.identity,
            image_encoder=self._preparation.image_encoder.identity,
            dtype=str(self._backbone.dtype),
        )

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:04d}.safetensors"

    def _missing(self) -> list[int]:
        return [n for n in range(self._settings.count) if not self._path(n).exists()]

    def is_complete(self) -> bool:
        """Whether all composites are there."""
        return not self._missing()

    def _choice(self, number: int) -> tuple[str, SceneBackground, random.Random]:
        """The digest of a composite's photo, its background, and what draws the rest."""
        rng = random.Random(seed_of("composite", self._settings.seed, number))
        photos = sorted(photo.digest for photo in self._subject.photos)
        # All photos as often as each other.
        return photos[number % len(photos)], rng.choice(self._backgrounds), rng

    def _paste(self, number: int) -> tuple[Pasted, Picture]:
        """A composite, and its background, `R R 3` both."""
        digest, background, rng = self._choice(number)
        [photo] = [photo for photo in self._subject.photos if photo.digest == digest]
        made, size = self._settings, (self._side, self._side)
        empty = cv2.resize(background.picture, size, interpolation=cv2.INTER_AREA)
        pasted = paste(
            self._pixels(digest),
            self._subject.mask(photo),
            np.asarray(empty, np.uint8),
            rng,
            made.scale,
            made.shift,
            made.edge,
            self._preparation.flip,
        )
        return pasted, np.asarray(empty, np.uint8)

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
                f"cannot write composites to {self.folder} ({error.strerror or error}); free some "
                f"space, or change {_KEY}.folder"
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
        # Last: by this file the composite counts as made.
        tensors = {name: part.contiguous() for name, part in zip(_TENSORS, parts, strict=True)}
        atomic_write(self._path(number), save(tensors))

    def load(self) -> CompositeViews:
        """Reads the features of all composites.

        Raises:
            UserError: If a file is missing or damaged.
        """
        numbers = range(self._settings.count)
        rows = [self._read(number) for number in numbers]
        stacked = {name: torch.stack([row[name] for row in rows]) for name in _TENSORS}
        chosen = [self._choice(number) for number in numbers]
        digests = [digest for digest, _, _ in chosen]
        views = SubjectViews(**stacked, photo_digests=digests)
        return CompositeViews(views, [background.prompt for _, background, _ in chosen])

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
