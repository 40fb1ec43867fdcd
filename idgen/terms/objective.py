"""A method's objective: the sum of its terms."""

from collections.abc import Mapping

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from idgen.backbones.backbone import Backbone
from idgen.errors import UserError
from idgen.models.conditioning import Conditioning
from idgen.models.tuning import Tuning
from idgen.terms.decoupling import ImplicitExplicit, ImplicitText, TextExplicit
from idgen.terms.denoising import Diffusion
from idgen.terms.step import Step, predict
from idgen.terms.term import Term

_DECOUPLING = 1e-3  # DisenBooth's weight
_LOGGED = ("router_entropy", "expert_load_", "grad_norm_", "background_noise", "learning_rate")


def paper_terms() -> dict[str, Term]:
    """L1 to L4 of arXiv 2505.22360, with the weights of DisenBooth's recipe."""
    return {
        "diffusion": Diffusion(),
        "text_explicit": TextExplicit(_DECOUPLING),
        "implicit_text": ImplicitText(_DECOUPLING),
        "implicit_explicit": ImplicitExplicit(_DECOUPLING),
    }


class Objective:
    """L = sum_k l_k L_k over the terms that can act in a method.

    Attributes:
        terms: Those terms, by name.
    """

    def __init__(
        self,
        terms: Mapping[str, Term | None] | None,
        conditioning: Conditioning,
        tuning: Tuning,
    ) -> None:
        """Sorts out what has a weight and something to act on, and warns of the rest.

        Args:
            terms: By name; None in place of a term leaves it out, None in all the paper's.
            conditioning: The method's.
            tuning: The method's.

        Raises:
            UserError: If the tuning rules a term out.
            ValueError: If no term is left.
        """
        self.terms: dict[str, Term] = {}
        for name, term in (paper_terms() if terms is None else terms).items():
            if name == "loss" or name.startswith(_LOGGED):
                raise ValueError(f"terms.{name}: the name is taken in the logs; give it another")
            if term is None or term.weight == 0:
                continue
            reason = term.idle(conditioning, tuning)
            if not reason:
                term.check(tuning)
                self.terms[name] = term
            elif terms is not None:
                rank_zero_warn(f"terms.{name} does nothing: {reason}; leave it out")
        if not self.terms:
            raise ValueError("terms: no term with a weight is left, so that nothing is learnt")

    @property
    def needs_class_images(self) -> bool:
        """Whether a term is about class images."""
        return any(term.needs_class_images for term in self.terms.values())

    @property
    def least_photos(self) -> int:
        """How many photos of the subject the terms need."""
        return max(term.least_photos for term in self.terms.values())

    def check(self, backbone: Backbone) -> None:
        """Refuses terms that the backbone rules out.

        Raises:
            UserError: If there is one.
        """
        for term in self.terms.values():
            term.check_backbone(backbone)

    def check_photos(self, count: int) -> None:
        """Refuses terms that need more photos of the subject.

        Args:
            count: How many there are.

        Raises:
            UserError: If there is one.
        """
        for name, term in self.terms.items():
            if count < term.least_photos:
                raise UserError(
                    f"terms.{name}: it needs {term.least_photos} photos, and there is {count}; add "
                    "photos, or leave the term out"
                )

    @property
    def needs_scene_images(self) -> bool:
        """Whether a term is about scene images."""
        return any(term.needs_scene_images for term in self.terms.values())

    def losses(self, step: Step) -> dict[str, Tensor]:
        """L_k of each term by name, all predictions made in as few calls as fit.

        Args:
            step: What the step starts from.
        """
        asked = [asked for term in self.terms.values() for asked in term.asks]
        predictions = predict(step, asked)
        return {name: term.loss(step, predictions) for name, term in self.terms.items()}

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """sum_k l_k L_k, a scalar.

        Args:
            losses: Of `losses`.
        """
        return torch.stack([self.terms[name].weight * loss for name, loss in losses.items()]).sum()
