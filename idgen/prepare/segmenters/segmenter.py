"""What finds the subject in a photo."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeAlias

import torch

from idgen.masks import Mask
from idgen.prepare.photos import Photo

Segment: TypeAlias = Callable[[Photo], Mask]
"""A photo of `H W` pixels to its subject's mask, `H W`."""


class Segmenter(ABC):
    """Finds the subject of a photo; light until `loaded`."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Hash of what decides its masks: weights, settings, version of the algorithm.

        Raises:
            UserError: If there is no such model.
        """

    def key(self, photo: Photo) -> str:
        """Hash of what, beside the photo itself, decides this photo's mask.

        Raises:
            UserError: If there is no such model or file.
        """
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

    def check(self, photos: Sequence[Photo]) -> None:  # noqa: B027 (most have nothing to check)
        """Raises a UserError, before any work, if a photo can have no mask."""

    def check_foreign(self, photo: Photo, subject: str) -> None:  # noqa: B027 (the same)
        """Checks a reference photo from elsewhere, after `check`: it may show something else.

        Args:
            photo: The photo.
            subject: The name of the trained subject.

        Raises:
            UserError: If it would be taken for a photo of the trained subject.
        """
