"""What passes between prompts and the text side of a backbone."""

from typing import NamedTuple

import torch
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
    """f_s, or what a method made of it: all that a denoiser takes of prompts.

    A family whose denoiser takes more than cross-attention's states has its place for it here;
    conditionings change the states and hand on the rest.

    Attributes:
        states: The encoder's states as cross-attention takes them, `B N D`.
        mask: True at real tokens, False at padding, `B N`.
    """

    states: Tensor
    mask: Tensor

    def with_states(self, states: Tensor) -> "TextStates":
        """The same prompts with other states, `B N D`."""
        return self._replace(states=states)

    def then(self, other: "TextStates") -> "TextStates":
        """Both batches, one after the other; a batch of one is repeated to the other's size."""
        size = max(len(self.states), len(other.states))
        pairs = zip(self, other, strict=True)
        return TextStates(*(torch.cat([_repeated(a, size), _repeated(b, size)]) for a, b in pairs))

    def pooled(self) -> Tensor:
        """The mean state over the real tokens, padding left out, `B D`."""
        weights = self.mask.unsqueeze(-1).to(self.states.dtype)
        return (self.states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def _repeated(batch: Tensor, size: int) -> Tensor:
    return batch.expand(size, *batch.shape[1:]) if len(batch) == 1 else batch
