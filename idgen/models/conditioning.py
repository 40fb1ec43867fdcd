"""How f_s, f_i and f'_i become the condition that the denoiser receives."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from idgen.backbones.backbone import FeatureSpace
from idgen.backbones.text import TextStates
from idgen.errors import UserError
from idgen.models.decoupling import ImplicitDecoupling, PhotoFeatures
from idgen.models.entry import Entrance, FeatureEntry
from idgen.models.fusion import ExpertFusion, Routing


class Condition(NamedTuple):
    """What conditioning made of a batch.

    Attributes:
        refined: f_r, what the denoiser receives; its states are `B N D`.
        implicit: f_i, `B D`, or None where the method has none.
        explicit: f'_i, `B D`, or None where the method has none.
        gates: The router's weights `B N K`, or None where the method has no experts.
        residuals: What each expert adds to its input, `B N D`, K of them; or None likewise.
    """

    refined: TextStates
    implicit: Tensor | None
    explicit: Tensor | None
    gates: Tensor | None
    residuals: tuple[Tensor, ...] | None = None


class Conditioning(nn.Module, ABC):
    """A method's way from features to condition.

    Attributes:
        decouples: Whether the photo's identity-irrelevant features take part in the condition.
        implicit: Whether f_i is among them.
        explicit: Whether f'_i is among them.
        image_width: Width of the photos' embeddings that it takes; None if it takes any.
        experts: How many experts its fusion module has, K; 0 where it has none.
        of_inference: Which of `definition` may be changed to draw with a checkpoint.
        photos: The most photos of a set that it can tell apart; None if it need not.
    """

    decouples = True
    implicit = True
    explicit = True
    image_width: int | None = None
    experts: int = 0
    of_inference: tuple[str, ...] = ()
    photos: int | None = None

    @property
    def definition(self) -> dict[str, Any]:
        """Plain settings that tell methods apart where the shapes of weights do not."""
        return {}

    @abstractmethod
    def forward(self, text: TextStates, photo: PhotoFeatures) -> Condition:
        """The condition in training, when the photo is known."""

    def of_photos(
        self, text: TextStates, photo: PhotoFeatures, numbers: Tensor | None
    ) -> Condition:
        """The condition in training, for methods that tell a set's photos apart.

        Args:
            text: f_s, `B N D`.
            photo: f_p and f'_i.
            numbers: Each row's photo in the set, `B` int64 from 0; None where that is not known.
        """
        return self(text, photo)  # type: ignore[no-any-return]

    @abstractmethod
    def infer(
        self, text: TextStates, photo: PhotoFeatures | None = None, weight: float = 0.0
    ) -> TextStates:
        """The condition for a new prompt.

        Args:
            text: f_s of the prompts.
            photo: A reference photo whose scene and pose are to be kept, or None.
            weight: How much of it: 0 none, 1 as much as in training.
        """

    def check_reference(self) -> None:
        """Raises a UserError, before any work, if no reference photo's scene can be kept."""


class DrawnByPrompt(Conditioning):
    """A conditioning of which nothing but f_s is left at inference."""

    implicit = False
    explicit = False

    def infer(
        self, text: TextStates, photo: PhotoFeatures | None = None, weight: float = 0.0
    ) -> TextStates:
        """f_s of a new prompt.

        Raises:
            UserError: If a reference photo is to be kept.
        """
        if photo is not None and weight != 0:
            self.check_reference()
        return text

    def check_reference(self) -> None:
        """Refuses it: the prompt is all that the condition holds.

        Raises:
            UserError: Always.
        """
        raise UserError(
            f"data.reference: the checkpoint's method ({type(self).__name__}) cannot keep a "
            "photo's scene; leave the reference out"
        )


class TextOnly(DrawnByPrompt):
    """Plain LoRA fine-tuning: f_r = f_s, in training as at inference. It has no weights."""

    decouples = False

    def __init__(self, space: FeatureSpace) -> None:
        """Takes what every conditioning takes.

        Args:
            space: The backbone's; it decides nothing here.
        """
        super().__init__()

    def forward(self, text: TextStates, photo: PhotoFeatures) -> Condition:
        """f_s, whatever the photo shows."""
        return Condition(text, None, None, None)


class FusedFeature(Enum):
    """Which identity-irrelevant feature enters f_com."""

    explicit = "explicit"
    implicit = "implicit"
    both = "both"


class DecoupledFusion(Conditioning):
    """IEDM and FFM: f_com = f_s + the irrelevant feature, f_r = FFM(f_com).

    The feature may also enter in another way: see `Entrance`.
    """

    of_inference = ("fuse_at_inference",)

    def __init__(
        self,
        space: FeatureSpace,
        fused: FusedFeature = FusedFeature.explicit,
        experts: int = 4,
        hidden_ratio: float = 0.25,
        fuse_at_inference: bool = False,
        implicit: bool = True,
        explicit: bool = True,
        image_width: int | None = None,
        entry: FeatureEntry = FeatureEntry.add,
        entry_scale: float = 1.0,
        dropout: float = 0.0,
        routing: Routing = Routing.token,
        low_rank: int | None = None,
    ) -> None:
        """Builds the adapter and the experts.

        Args:
            space: The backbone's.
            fused: What is added to f_s: `explicit` f'_i, `implicit` f_i, or `both`, their mean.
                With `explicit` the adapter gets no gradient from the diffusion loss.
            experts: K of the fusion module; 0 leaves it out, f_r = f_com.
            hidden_ratio: Hidden width of an expert as a share of D.
            fuse_at_inference: Whether a new prompt's f_s passes through the fusion module.
            implicit: Whether there is an implicit branch: the adapter, f_i, L2 and L3.
            explicit: Whether there is an explicit branch: f'_i, L3 and L4.
            image_width: Width of the image encoder's embeddings; None for the width of the
                backbone's image twin. One that is not D is projected into D by a learnt layer.
            entry: How the feature enters f_com: `add`ed to each token, `normed` to the tokens'
                mean norm and then added, or as one more `token`.
            entry_scale: What it is multiplied by there.
            dropout: With which probability a row of a training batch goes without it, f_com = f_s,
                as conditions are left out for guidance (Ho & Salimans 2022); with `token` a whole
                batch does.
            routing: Whether each `token` has gates of its own, or each `picture`.
            low_rank: Rank of experts that are linear; None for MLPs of `hidden_ratio`.

        Raises:
            ValueError: If a number is out of its range, a branch that is fused is left out, or the
                image encoder's width is not known.
        """
        super().__init__()
        if experts < 0:
            raise ValueError("experts must be 0 or more")
        if not 0 <= dropout < 1:
            raise ValueError("dropout must be from 0 to below 1")
        lacks_implicit = not implicit and fused is not FusedFeature.explicit
        if lacks_implicit or (not explicit and fused is not FusedFeature.implicit):
            raise ValueError(
                f"conditioning: fused is {fused.value}, but that branch is left out "
                f"(implicit: {implicit}, explicit: {explicit})"
            )
        if image_width is not None and image_width < 1:
            raise ValueError("image_width must be 1 or more, or null for the image twin's")
        self.image_width = space.image_width if image_width is None else image_width
        if self.image_width is None:
            raise ValueError(
                "conditioning: the backbone has no image twin; set image_width to the width of the "
                "image encoder's embeddings"
            )
        width = space.width
        self.fused = fused
        self.fuse_at_inference = fuse_at_inference
        self.implicit = implicit
        self.explicit = explicit
        self.projection = None if self.image_width == width else nn.Linear(self.image_width, width)
        self.decoupling = ImplicitDecoupling(width) if implicit else None
        self.experts = experts
        self.dropout = dropout
        self.entrance = Entrance(width, entry, entry_scale)
        self.routing = routing
        self.fusion = (
            ExpertFusion(width, experts, hidden_ratio, routing, low_rank) if experts else None
        )

    @property
    def definition(self) -> dict[str, Any]:
        """What is fused and how, the branches, and whether new prompts are."""
        return {
            "fused": self.fused.value,
            "implicit": self.implicit,
            "explicit": self.explicit,
            "fuse_at_inference": self.fuse_at_inference,
            "entry": self.entrance.entry.value,
            "entry_scale": self.entrance.scale,
            "routing": self.routing.value,
        }

    def _branches(self, photo: PhotoFeatures) -> tuple[Tensor | None, Tensor | None]:
        """f_i and f'_i, each None where its branch is left out."""
        if self.projection is not None:
            photo = PhotoFeatures(*map(self.projection, photo))
        implicit = None if self.decoupling is None else self.decoupling(photo.photo)
        return implicit, photo.background if self.explicit else None

    def _irrelevant(self, implicit: Tensor | None, explicit: Tensor | None) -> Tensor:
        """What enters f_com beside f_s: the mean of the fused branches, `B D`."""
        fused = {
            FusedFeature.explicit: [explicit],
            FusedFeature.implicit: [implicit],
            FusedFeature.both: [implicit, explicit],
        }[self.fused]
        return torch.stack([branch for branch in fused if branch is not None]).mean(dim=0)

    def forward(self, text: TextStates, photo: PhotoFeatures) -> Condition:
        """f_r from a prompt and the photo it belongs to.

        Args:
            text: f_s, `B N D`.
            photo: f_p and f'_i, `B D` each, or of the image encoder's width.

        Returns:
            f_r, f_i, f'_i, the gates and the experts' residuals.
        """
        implicit, explicit = self._branches(photo)
        dropout = self.dropout if self.training else 0.0
        combined = self.entrance(text, self._irrelevant(implicit, explicit), dropout=dropout)
        if self.fusion is None:
            return Condition(combined, implicit, explicit, None)
        refined, gates, residuals = self.fusion(combined)
        return Condition(combined.with_states(refined), implicit, explicit, gates, residuals)

    def infer(
        self, text: TextStates, photo: PhotoFeatures | None = None, weight: float = 0.0
    ) -> TextStates:
        """f_s of a new prompt, or FFM(f_s + weight * the irrelevant feature of a reference)."""
        with_photo = photo is not None and weight != 0
        combined = text
        if photo is not None and with_photo:
            combined = self.entrance(text, self._irrelevant(*self._branches(photo)), weight)
        if self.fusion is None or not (with_photo or self.fuse_at_inference):
            return combined
        return combined.with_states(self.fusion(combined).refined)


ConditioningCallable = Callable[[FeatureSpace], Conditioning]
"""Builds a conditioning for a backbone's feature space."""


@dataclass(frozen=True)
class ConditioningFactory:
    """A callable that modules keep; copies of a module share it.

    What the command line makes of a config holds on to the command line, which cannot be copied.

    Attributes:
        build: Builds a conditioning for a backbone's feature space.
    """

    build: ConditioningCallable

    def __deepcopy__(self, memo: Any) -> "ConditioningFactory":
        return self
