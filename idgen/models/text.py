"""What passes between prompts and the text side of a backbone."""

from typing import NamedTuple

from torch import Tensor


class SubjectWords(NamedTuple):
    """What stands for the subject in prompts.

    Attributes:
        token: The word that [V] becomes, such as `sks`.
        class_noun: What the subject is, such as `dog`; empty if that is not known.
    """

    token: str
    class_noun: str


class TextTokens(NamedTuple):
    """Prompts as numbers.

    Attributes:
        ids: Token ids, `B N`.
        mask: True at real tokens, False at padding, `B N`.
    """

    ids: Tensor
    mask: Tensor


class TextStates(NamedTuple):
    """f_s: what the text encoder made of prompts.

    Attributes:
        states: The encoder's states as cross-attention takes them, `B N D`.
        mask: True at real tokens, False at padding, `B N`.
    """

    states: Tensor
    mask: Tensor

    def pooled(self) -> Tensor:
        """The mean state over the real tokens, padding left out, `B D`."""
        weights = self.mask.unsqueeze(-1).to(self.states.dtype)
        return (self.states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
