"""Tokens beside the prompt's that take what one photo alone shows."""

import torch
from torch import Tensor, nn

from idgen.backbones.backbone import FeatureSpace
from idgen.backbones.text import TextStates
from idgen.models.conditioning import Condition, DrawnByPrompt
from idgen.models.decoupling import PhotoFeatures


class ResidualTokens(DrawnByPrompt):
    """f_r = [f_s ; R_i] with learnt tokens R_i for each photo i (after ConceptPrism, 2602.19575).

    In training, cross-attention finds the tokens of the photo behind those of the prompt; they can
    take what is of that photo alone. Drawings are made under f_s, without any. In the paper they
    are words that go through the text encoder; here they are states of their own, so that any
    family of backbones takes them.
    """

    def __init__(self, space: FeatureSpace, photos: int = 5, tokens: int = 8) -> None:
        """Sets how many there are; they start as standard normal noise, a text state's size.

        Args:
            space: The backbone's.
            photos: The most photos that a set has.
            tokens: Of each photo, n in the paper; 8 is its value for Stable Diffusion 2.1.

        Raises:
            ValueError: If a number is below 1.
        """
        super().__init__()
        if photos < 1 or tokens < 1:
            raise ValueError("ResidualTokens: photos and tokens must be 1 or more")
        self.photos = photos
        self.tokens = tokens
        self.residual = nn.Embedding(photos, tokens * space.width)

    def joined(self, text: TextStates, numbers: Tensor) -> TextStates:
        """Prompts with the tokens of photos behind them.

        Args:
            text: Of prompts, `B N D`.
            numbers: Each row's photo, `B` int64 from 0.

        Returns:
            `B (N + tokens) D`.
        """
        residual = self.residual(numbers).unflatten(1, (self.tokens, -1))
        states = torch.cat([text.states, residual.to(text.states.dtype)], dim=1)
        there = text.mask.new_ones(len(text.mask), self.tokens)
        return TextStates(states, torch.cat([text.mask, there], dim=1), text.pooled)

    def of_photos(
        self, text: TextStates, photo: PhotoFeatures, numbers: Tensor | None
    ) -> Condition:
        """f_s and the tokens of the photos; f_s alone where they are of no set."""
        if numbers is None:
            return self(text, photo)  # type: ignore[no-any-return]
        return Condition(self.joined(text, numbers), None, None, None)

    def forward(self, text: TextStates, photo: PhotoFeatures) -> Condition:
        """f_s: a photo that is not of the set has no tokens."""
        return Condition(text, None, None, None)
