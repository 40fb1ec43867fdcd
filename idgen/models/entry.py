"""How a photo's identity-irrelevant feature enters f_com."""

import math
from enum import Enum

import torch
from torch import Tensor, nn

from idgen.backbones.text import TextStates


class FeatureEntry(Enum):
    """The ways into f_com."""

    add = "add"
    normed = "normed"
    token = "token"


class Entrance(nn.Module):
    """f_com of f_s and a feature of the photo.

    - `add`: the feature is added to each token (arXiv 2505.22360).
    - `normed`: the same, but brought to the mean norm of the prompt's real tokens first.
    - `token`: so brought, it is one more token behind the prompt's, so that cross-attention can
      tell it from them, as IP-Adapter (Ye et al. 2023) and ELITE (Wei et al. 2023) hand on images.
      A learnt vector, 0 at the start, is added to it and says what kind of token it is.
    """

    def __init__(
        self, width: int, entry: FeatureEntry = FeatureEntry.add, scale: float = 1.0
    ) -> None:
        """Builds the way in.

        Args:
            width: D.
            entry: Which way.
            scale: What the feature is multiplied by.

        Raises:
            ValueError: If the scale is not finite and above 0.
        """
        super().__init__()
        if not 0 < scale < math.inf:
            raise ValueError("entry_scale must be finite and above 0")
        self.entry = entry
        self.scale = scale
        is_token = entry is FeatureEntry.token
        self.kind = nn.Parameter(torch.zeros(width)) if is_token else None

    def forward(
        self, text: TextStates, feature: Tensor, weight: float = 1.0, dropout: float = 0.0
    ) -> TextStates:
        """f_com, of N tokens or, with `token`, N + 1.

        Args:
            text: f_s, `B N D`.
            feature: What is irrelevant to the identity, `B D` or `1 D`.
            weight: How much of it, 1 as much as in training.
            dropout: With which probability a row's feature is left out, so that f_com = f_s. With
                `token` all rows lose theirs together, since they have to be of one length.
        """
        brought = self.scale * self._brought(text, feature)
        if self.kind is None:
            entered = weight * brought.unsqueeze(1)
            if dropout:
                kept = torch.rand(len(text.states), 1, 1, device=entered.device) >= dropout
                entered = entered * kept
            return text.with_states(text.states + entered)
        if dropout and float(torch.rand(())) < dropout:
            # The learnt vector takes part, for distributed training wants a gradient for it.
            return text.with_states(text.states + 0 * self.kind)
        token = (weight * (brought + self.kind)).expand(len(text.states), -1).unsqueeze(1)
        mask = torch.cat([text.mask, text.mask.new_ones(len(text.mask), 1)], dim=1)
        return TextStates(torch.cat([text.states, token], dim=1), mask, text.pooled)

    def _brought(self, text: TextStates, feature: Tensor) -> Tensor:
        """The feature, with the norm of the tokens where that is wanted."""
        if self.entry is FeatureEntry.add:
            return feature
        norms = text.with_states(text.states.norm(dim=-1, keepdim=True)).mean().detach()
        own = feature.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(feature.dtype).tiny)
        brought: Tensor = feature * (norms / own)
        return brought
