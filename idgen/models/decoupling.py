"""IEDM: what of a photo is irrelevant to the subject's identity (arXiv 2505.22360)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class PhotoFeatures(NamedTuple):
    """A photo through the frozen image encoder E_I.

    Attributes:
        photo: f_p = E_I(x), `B D`.
        background: f'_i = E_I(x'), of the photo with its subject inpainted away, `B D`.
    """

    photo: Tensor
    background: Tensor


class ImplicitDecoupling(nn.Module):
    """f_i = g + MLP(g) with g = sigmoid(m) * f_p (DisenBooth's adapter, Chen et al. 2023).

    The learnt mask m starts at 0, so that half of each feature passes.
    """

    def __init__(self, width: int) -> None:
        """Builds the mask and the MLP.

        Args:
            width: D.
        """
        super().__init__()
        self.mask = nn.Parameter(torch.zeros(width))
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, photo: Tensor) -> Tensor:
        """The implicit, identity-irrelevant feature.

        Args:
            photo: f_p, `B D`.

        Returns:
            f_i, `B D`.
        """
        gated = torch.sigmoid(self.mask) * photo
        decoupled: Tensor = gated + self.mlp(gated)
        return decoupled
