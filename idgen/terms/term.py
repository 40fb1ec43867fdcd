"""What every term of an objective is."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor

from idgen.backbones.backbone import Backbone
from idgen.models.conditioning import Conditioning
from idgen.models.tuning import Tuning
from idgen.terms.step import Asked, Step


class Term(ABC):
    """One l_k L_k of L = sum_k l_k L_k.

    Attributes:
        weight: l_k.
        asks: The predictions that the loss is made of.
        needs_class_images: Whether it is about class images (`data.prior`).
        least_photos: How many photos of the subject it needs.
        needs_scene_images: Whether it is about scene images (`data.scenes`).
    """

    asks: tuple[Asked, ...] = ()
    needs_class_images = False
    least_photos = 1
    needs_scene_images = False

    def __init__(self, weight: float = 1.0) -> None:
        """Sets the weight.

        Args:
            weight: l_k; 0 leaves the term and its predictions out.

        Raises:
            ValueError: If it is negative, which would turn the loss around, infinite or NaN.
        """
        if weight < 0 or not math.isfinite(weight):
            raise ValueError(f"{type(self).__name__}: weight must be finite and not negative")
        self.weight = weight

    @property
    def reads_masks(self) -> bool:
        """Whether its loss depends on the subjects' masks."""
        return False

    def check(self, tuning: Tuning) -> None:  # noqa: B027 (most have nothing to check)
        """Raises a UserError if the tuning rules the term out."""

    def check_backbone(self, backbone: Backbone) -> None:  # noqa: B027
        """Raises a UserError, before weights are loaded, if the backbone rules the term out."""

    def idle(self, conditioning: Conditioning, tuning: Tuning) -> str:
        """Why the term would change nothing in a method; empty if it would.

        Args:
            conditioning: The method's.
            tuning: The method's.
        """
        return ""

    @abstractmethod
    def loss(self, step: Step, predictions: Mapping[Asked, Tensor]) -> Tensor:
        """L_k, a scalar.

        Args:
            step: What the step starts from.
            predictions: At least those of `asks`, `B C h w` each.
        """
