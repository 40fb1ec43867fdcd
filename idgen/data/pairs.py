"""Pairs: two subjects, cut out by their masks, side by side before a photo's background."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from idgen import opencv as cv2
from idgen.backbones.backbone import Backbone
from idgen.data.cast import Cast, Prompt, exchanged
from idgen.data.pasted_pictures import PastedPictures
from idgen.data.pasting import Cut, Pasted, put
from idgen.errors import UserError
from idgen.files import check_writable
from idgen.fingerprint import fingerprint_fields
from idgen.masks import Picture
from idgen.placeholders import FIRST, FIRST_NOUN, SECOND, SECOND_NOUN
from idgen.prepare import Preparation, PreparedSubject, SubjectViews
from idgen.prepare.captioners.captioner import with_scene
from idgen.prepare.index import PreparedPhoto
from idgen.prepare.subject import stacked
from idgen.seeds import seed_of

_KEY = "data.pairs"
_VERSION = 1
_MARGIN = 0.02
"""Of each half, in sides of the picture, that stays free."""


class PairMask(Enum):
    """What of a pair counts as the subject, for losses that read masks."""

    picture = "picture"
    union = "union"


class PairPrompt(NamedTuple):
    """The training prompt of a pair.

    Attributes:
        captioned: With the scene of its background, where that has a caption.
        usual: Without.
    """

    captioned: Prompt
    usual: Prompt


@dataclass
class Pairs:
    """Both subjects in one picture, made once, as more views to train on.

    No photo shows both, and a model that learns them apart mixes them up when it draws them
    together. So each is cut out by its mask and put into a half of the picture, before the
    background of one of the photos, from which its subject was taken away. This is Cut-Mix of
    SVDiff (Han et al. 2023, arXiv 2303.11305); there halves of two photos are put together, here
    subjects on one background. Who is named first stands on the left.

    Attributes:
        share: Which share of a batch's rows are pairs, in the mean; with 0 the two are learnt from
            their own photos alone, as Custom Diffusion does (Kumari et al. 2023).
        count: How many there are.
        size: Least and largest size of a subject, the longer of its height and width, in sides of
            the picture.
        edge: Width of its fading edge, as a share of the side.
        mask: What of a pair counts as the subject: the whole `picture`, or the `union` of the two.
            A backbone that draws one subject in the middle has to learn that nothing stands there;
            with the union, losses that keep what is beside the mask as the backbone draws it
            (`BackgroundPreservation`) teach the contrary.
        prompt: Their training prompt; where the second subject stands on the left, the two change
            places in it.
        seed: Of photos, backgrounds, sizes and places.
        folder: Where they are kept; by default `pairs/` beside the first prepared subject.
    """

    share: float = 0.5
    count: int = 96
    size: tuple[float, float] = (0.36, 0.46)
    edge: float = 0.01
    mask: PairMask = PairMask.picture
    prompt: str = f"a photo of a {FIRST} {FIRST_NOUN} and a {SECOND} {SECOND_NOUN}"
    seed: int = 0
    folder: str | None = None

    def __post_init__(self) -> None:
        """Refuses numbers out of range.

        Raises:
            ValueError: If there is one.
        """
        if not 0 <= self.share <= 1:
            raise ValueError(f"{_KEY}: share must be from 0 to 1")
        if self.count < 1:
            raise ValueError(f"{_KEY}: count must be 1 or more")
        most = 0.5 - _MARGIN
        if not 0 < self.size[0] <= self.size[1] <= most:
            raise ValueError(
                f"{_KEY}: size must be two sizes, above 0, at most {most}, rising, for each has "
                "half of the picture"
            )
        if not 0 <= self.edge <= 0.2:
            raise ValueError(f"{_KEY}: edge must be from 0 to 0.2")

    def check(self, cast: Cast, backbone: Backbone) -> None:
        """Checks, before any work, the training prompt.

        Args:
            cast: Two.
            backbone: Who reads it.

        Raises:
            UserError: If it does not name both, or cannot be read.
        """
        for template in (self.prompt, exchanged(self.prompt)):
            prompt = cast.filled(template, "pairs.prompt")
            if not cast.named(prompt):
                raise UserError(f"pairs.prompt {prompt!r} names neither {FIRST} nor {SECOND}")
            cast.check_named(prompt, "pairs.prompt")
            try:
                cast.check_words(prompt, backbone)
            except UserError as error:
                raise UserError(f"pairs.prompt: {error}") from error

    def check_writable(self, prepared: Path) -> None:
        """Refuses a folder that cannot be written, without creating anything.

        Args:
            prepared: The first prepared subject's folder.

        Raises:
            UserError: If it cannot, or if the disk is full.
        """
        folder = prepared.parent if self.folder is None else Path(self.folder).expanduser()
        check_writable(folder, f"{_KEY}.folder")


class PairFolder(PastedPictures):
    """The pairs of two prepared subjects on disk: a picture and a file of features each."""

    what = "pairs"

    def __init__(
        self,
        settings: Pairs,
        subjects: Sequence[PreparedSubject],
        pixels: Callable[[str], Picture],
        preparation: Preparation,
        backbone: Backbone,
    ) -> None:
        """Makes nothing yet.

        Args:
            settings: What they are to be.
            subjects: The first and the second, prepared.
            pixels: Reads the photo of a digest, of either.
            preparation: What makes features.
            backbone: Whose autoencoder is used.
        """
        super().__init__(settings.count, preparation, backbone)
        self._settings = settings
        self._subjects = subjects
        self._pixels = pixels
        parent = subjects[0].folder.parent / "pairs"
        if settings.folder is not None:
            parent = Path(settings.folder).expanduser()
        names = "-".join(subject.folder.name for subject in subjects)
        self.folder = parent / f"{names}-{self._key()[:12]}"

    def _key(self) -> str:
        """Of all that decides a pair, but their number: more are the same ones and others."""
        made = self._settings
        photos = [
            " ".join(
                sorted(
                    f"{p.digest} {p.files['masks'].key} {p.files['backgrounds'].key}"
                    for p in subject.photos
                )
            )
            for subject in self._subjects
        ]
        return fingerprint_fields(
            version=_VERSION,
            first=photos[0],
            second=photos[1],
            size=" ".join(map(str, made.size)),
            edge=made.edge,
            flip=self._preparation.flip,
            seed=made.seed,
            side=self._side,
            **self._encoders(),
        )

    def _choice(self, number: int) -> "_Choice":
        rng = random.Random(seed_of("pair", self._settings.seed, number))
        of_each = [_by_digest(subject) for subject in self._subjects]
        # All photos of each as often as each other, with any of the other's.
        first = of_each[0][number % len(of_each[0])]
        second = rng.choice(of_each[1])
        whose = rng.randrange(2)
        background = rng.choice(of_each[whose])
        return _Choice((first, second), (whose, background), rng.random() < 0.5, rng)

    def _digest(self, number: int) -> str:
        return self._choice(number).background[1].digest

    def _paste(self, number: int) -> tuple[Pasted, Picture]:
        chosen = self._choice(number)
        whose, photo = chosen.background
        empty = self._background(whose, photo)
        picture, alpha = empty, np.zeros((self._side, self._side), np.float32)
        for at in (0, 1):
            pasted = self._put(at, chosen, picture)
            picture, alpha = pasted.picture, np.maximum(alpha, pasted.alpha)
        return Pasted(picture, alpha), empty

    def _put(self, at: int, chosen: "_Choice", picture: Picture) -> Pasted:
        """One of the two, put into its half of a picture."""
        photo, rng, side = chosen.photos[at], chosen.rng, self._side
        cut = Cut.of(self._pixels(photo.digest), self._subjects[at].mask(photo))
        if self._preparation.flip and rng.random() < 0.5:
            cut = cut.mirrored()
        (first, last), (begin, end) = cut.extent
        longer = max(last - first, end - begin)
        size = rng.uniform(*self._settings.size) * side / longer
        high, wide = size * (last - first) / side, size * (end - begin) / side
        column = _between(wide / 2 + _MARGIN / 2, 0.5 - _MARGIN / 2 - wide / 2, rng)
        row = _between(max(high / 2, 0.4), min(1 - high / 2, 0.6), rng)
        if (at == 0) is chosen.mirrored:
            column += 0.5
        return put(cut, picture, size, (row * side, column * side), self._settings.edge)

    def _background(self, whose: int, photo: PreparedPhoto) -> Picture:
        """A photo's background, as the plain view of the photo shows it, `R R 3`."""
        subject = self._subjects[whose]
        cut = Cut.of(subject.background(photo), subject.mask(photo))
        size = (self._side, self._side)
        return np.asarray(cv2.resize(cut.picture, size, interpolation=cv2.INTER_AREA), np.uint8)

    def load_views(self) -> SubjectViews:
        """Reads the features of all, one a row, their masks as the settings have them.

        Raises:
            UserError: If a file is missing or damaged.
        """
        views = super().load_views()
        if self._settings.mask is PairMask.union:
            return views
        return replace(views, subject_mask=torch.ones_like(stacked(views.subject_mask)))

    def prompts(self, cast: Cast, captions: bool) -> list[PairPrompt]:
        """The training prompt of each.

        Args:
            cast: The two.
            captions: Whether the captioner's phrase for the background's photo goes on it.
        """
        found = []
        for number in range(self.count):
            chosen = self._choice(number)
            template = self._settings.prompt
            prompt = cast.filled(exchanged(template) if chosen.mirrored else template)
            whose, photo = chosen.background
            phrase = self._subjects[whose].caption(photo) if captions else None
            usual = cast.read(prompt)
            found.append(PairPrompt(cast.read(with_scene(prompt, phrase or "")), usual))
        return found


class _Choice(NamedTuple):
    """What a pair is made of: photos, whose background, the second on the left, all the rest."""

    photos: tuple[PreparedPhoto, PreparedPhoto]
    background: tuple[int, PreparedPhoto]
    mirrored: bool
    rng: random.Random


def _between(least: float, most: float, rng: random.Random) -> float:
    return rng.uniform(least, most) if least < most else (least + most) / 2


def _by_digest(subject: PreparedSubject) -> list[PreparedPhoto]:
    return sorted(subject.photos, key=lambda photo: photo.digest)
