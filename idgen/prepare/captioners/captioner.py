"""What names the scene of a photo, in words that continue a prompt."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, TypeAlias

import torch

from idgen.masks import Picture
from idgen.models.encoders import ImageEncoder
from idgen.prepare.photos import Photo

Describe: TypeAlias = Callable[[Photo, Picture], str]
"""A photo and its background, `H W 3` uint8, to the phrase for its scene; empty to name none."""

USUAL_PROMPT: Final = "a photo of a [V] {class_noun}"
"""The training prompt where the user gives no other."""


class Captioner(ABC):
    """Names the scene of a photo whose subject was painted out; light until `loaded`.

    What the prompt says of a photo, [V] need not carry. So the phrase is about everything but the
    subject, and continues the training prompt: "on a purple rug", "in front of a brick wall".
    """

    @property
    @abstractmethod
    def identity(self) -> str:
        """Hash of what decides its phrases: weights, settings; a UserError without them."""

    def key(self, photo: Photo) -> str:
        """Hash of what, beside the photo's background, decides this photo's phrase."""
        return self.identity

    def beside(self, image_encoder: ImageEncoder) -> "Captioner":
        """The same one, using this E_I where it uses E_I; most do not."""
        return self

    @property
    def judges(self) -> frozenset[str]:
        """Identities of the models that it asks, as scores' encoders give theirs."""
        return frozenset()

    def fetch(self) -> None:  # noqa: B027 (most have nothing to fetch)
        """Downloads weights that are not on this machine yet; a UserError if it cannot."""

    @abstractmethod
    def loaded(self, device: torch.device) -> AbstractContextManager[Describe]:
        """Loads what it needs, and frees it when the context ends.

        Args:
            device: Where it runs.

        Returns:
            A context of the function from a photo and its background to its phrase. That raises an
            UnfitPhotoError if no phrase can be found for this photo, whatever it is.

        Raises:
            UserError: If weights cannot be loaded.
        """


def with_scene(prompt: str, phrase: str) -> str:
    """A prompt that goes on with a scene's phrase; the prompt as it is without one."""
    return f"{prompt.rstrip(' .,;')} {phrase}" if phrase else prompt
