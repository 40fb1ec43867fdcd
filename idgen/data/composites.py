"""Composites: the subject, cut out by its mask, pasted into backgrounds that are not its own."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from idgen import opencv as cv2
from idgen.data.pasted_pictures import PastedPictures
from idgen.data.pasting import Cut, Pasted, put
from idgen.data.scene_images import SceneBackground, SceneFolder
from idgen.files import check_writable
from idgen.fingerprint import fingerprint_fields
from idgen.masks import Mask, Picture
from idgen.prepare import PreparedSubject, SubjectViews
from idgen.seeds import seed_of

_KEY = "data.composites"
_VERSION = 1


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
    side, cut = len(background), Cut.of(photo, mask)
    if flip and rng.random() < 0.5:
        cut = cut.mirrored()
    across = len(cut.shape)
    (first, last), (begin, end) = cut.extent
    size = min(rng.uniform(*scale) * side / across, side / max(last - first, end - begin))
    # Where its middle goes, from where it is in the photo.
    middle = [(first + last) / 2 / across, (begin + end) / 2 / across]
    middle = [place + rng.uniform(-shift, shift) for place in middle]
    half = [size * (last - first) / 2, size * (end - begin) / 2]
    row, column = (
        min(max(place * side, reach), side - reach)
        for place, reach in zip(middle, half, strict=True)
    )
    return put(cut, background, size, (row, column), edge)


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


class CompositeFolder(PastedPictures):
    """One subject's composites on disk: a picture and a file of features each.

    Attributes:
        share: Which share of a batch's rows are composites, in the mean.
    """

    what = "composites"

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
        super().__init__(settings.count, scenes.preparation, scenes.backbone)
        self._settings = settings
        self.share = settings.share
        self._subject = subject
        self._pixels = pixels
        self._backgrounds: list[SceneBackground] = scenes.backgrounds()
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
            **self._encoders(),
        )

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

    def _digest(self, number: int) -> str:
        return self._choice(number)[0]

    def load(self) -> CompositeViews:
        """Reads the features of all composites.

        Raises:
            UserError: If a file is missing or damaged.
        """
        prompts = [self._choice(number)[1].prompt for number in range(self.count)]
        return CompositeViews(self.load_views(), prompts)
