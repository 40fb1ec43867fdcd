"""What fills the subject's place, so that only the background is left: x' of the method."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeAlias

import numpy as np
import torch

from idgen import opencv as cv2
from idgen.masks import Mask, Picture
from idgen.prepare.features import LatentBackbone
from idgen.prepare.photos import UnfitPhotoError

Inpaint: TypeAlias = Callable[[Picture, Mask], Picture]
"""A picture `H W 3` uint8 and its subject's mask `H W` to the background, `H W 3` uint8."""


class Inpainter(ABC):
    """Paints over the subject: x' = inpaint(x, M); light until `loaded`."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Hash of what computes the background: weights, settings, version of the algorithm."""

    @property
    def is_parallel(self) -> bool:
        """Whether several threads may fill pictures at once: true of what has no network."""
        return False

    def of(self, backbone: LatentBackbone) -> "Inpainter":
        """The same one for photos of this backbone; most use none."""
        return self

    @abstractmethod
    def loaded(self, device: torch.device) -> AbstractContextManager[Inpaint]:
        """Loads what it needs, and frees it when the context ends.

        Args:
            device: Where it runs.

        Returns:
            A context of the function from picture and mask to background. That raises an
            UnfitPhotoError if the mask leaves nothing of the picture to fill from.
        """


def no_background() -> UnfitPhotoError:
    """What to tell the user when the widened mask leaves nothing to fill from."""
    return UnfitPhotoError(
        "the subject with its margin fills the whole picture, no background is left; "
        "lower the inpainter's dilation, tighten the mask, or leave this photo out"
    )


def dilate(mask: Mask, fraction: float) -> Mask:
    """Widens a mask `H W` by a Euclidean distance, at least one pixel unless 0.

    Args:
        mask: `H W`.
        fraction: The distance, in square roots of the mask's area.
    """
    if fraction == 0 or not mask.any():
        return mask.copy()
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance <= max(1.0, fraction * float(np.sqrt(mask.sum()))), dtype=np.bool_)
