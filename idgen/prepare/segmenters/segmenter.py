"""What finds the subject in a photo."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch

from idgen.errors import UserError
from idgen.masks import Mask, Matte, Picture
from idgen.prepare.photos import Photo, subject_name
from idgen.prepare.segmenters.finding import Find, Finding

Segment: TypeAlias = Callable[[Photo], Mask]
"""A photo of `H W` pixels to its subject's mask, `H W`."""


class Segmenter(ABC):
    """Finds the subject of a photo; light until `loaded`."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Hash of what decides its masks: weights, settings, version; a UserError without them."""

    def key(self, photo: Photo) -> str:
        """Hash of what, beside the photo itself, decides this photo's mask."""
        return self.identity

    def path(self, photo: Photo) -> Path | None:
        """The file that the user made this photo's mask in, if so; no two photos share one."""
        return None

    @abstractmethod
    def loaded(
        self, device: torch.device, photos: Sequence[Photo]
    ) -> AbstractContextManager[Segment]:
        """Loads what it needs, and frees it when the context ends.

        Args:
            device: Where it runs.
            photos: All photos of the subject, those included that have their masks already: what
                they share is the subject. Neither their order nor their names decide anything.

        Returns:
            A context of the function from one of these photos to its mask. It takes other
            pictures of the subject too, such as drawings, and judges each beside these photos
            but no other such picture; masks that the user made exist for photos alone.

        Raises:
            UserError: If weights cannot be loaded.
        """

    @property
    def is_parallel(self) -> bool:
        """Whether several threads may look at photos at once: true of what has no network."""
        return False

    @property
    def title(self) -> str:
        """What the contact sheet calls it."""
        return type(self).__name__.removesuffix("Segmenter")

    @contextmanager
    def finding(self, device: torch.device, photos: Sequence[Photo]) -> Iterator[Find]:
        """The same as `loaded`, with what is to be said of each mask."""
        with self.loaded(device, photos) as segment:
            yield lambda photo: Finding(segment(photo), self.title)

    def check(self, photos: Sequence[Photo]) -> None:  # noqa: B027 (most have nothing to check)
        """Raises a UserError, before any work, if a photo can have no mask."""

    def check_foreign(self, photo: Photo, subject: str) -> None:  # noqa: B027 (the same)
        """Raises a UserError if a reference from elsewhere would be taken for the subject's."""


def maskable(photos: Sequence[Photo], segmenter: Segmenter) -> tuple[list[Photo], list[str]]:
    """The photos that can have a mask, and a line on those that cannot for the same reason."""
    found: list[Photo] = []
    faults: dict[str, list[str]] = {}
    for photo in photos:
        try:
            segmenter.check([photo])
            found.append(photo)
        except UserError as error:
            faults.setdefault(str(error), []).append(repr(photo.name))
    return found, [f"left out {', '.join(names)}: {why}" for why, names in faults.items()]


def check_reference(photo: Photo, photos_folder: Path, segmenter: Segmenter) -> None:
    """Checks, before any work, that a reference photo can have a mask of its own.

    Args:
        photo: The photo, of the trained subject or of anything else.
        photos_folder: The trained subject's photos, existing or not.
        segmenter: Finds its subject.

    Raises:
        UserError: If it cannot, or if it is from elsewhere and would be taken for one of them.
    """
    segmenter.check([photo])
    if photo.path.parent.resolve() != photos_folder.resolve():
        segmenter.check_foreign(photo, subject_name(photos_folder))


@dataclass(frozen=True)
class DrawnPicture(Photo):
    """A drawing in the place of a photo: in memory, and without prompts of the user.

    Attributes:
        image: `H W 3` uint8.
    """

    image: Picture

    @classmethod
    def of(cls, image: Picture) -> "DrawnPicture":
        """Names it by its content."""
        digest = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()
        return cls(Path(digest) / "drawing.png", digest, image)

    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.shape[0], self.image.shape[1]

    def pixels(self) -> Picture:
        """The picture, `H W 3` uint8, sRGB."""
        return self.image

    def alpha(self) -> Matte | None:
        """It has none."""
        return None


def of_drawings(segment: Segment) -> Callable[[Picture], Mask]:
    """What finds the subject in photos, as what finds it in drawings `H W 3`."""
    return lambda image: segment(DrawnPicture.of(image))
