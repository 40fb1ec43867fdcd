"""What passes between prompts and the text side of a backbone."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self, TypeVar

import torch
from torch import Tensor

from idgen.devices import sent

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class SubjectWords(NamedTuple):
    """What stands for the subject in prompts.

    Attributes:
        token: The word that [V] becomes, such as `sks`.
        class_noun: What the subject is, such as `dog`; empty if that is not known.
    """

    token: str
    class_noun: str


class TextTokens(NamedTuple):
    """Prompts as numbers, for one to three text encoders.

    Attributes:
        ids: Token ids, `B N` for each encoder.
        masks: True at real tokens, False at padding, `B N` for each encoder.
    """

    ids: tuple[Tensor, ...]
    masks: tuple[Tensor, ...]

    def to(self, device: torch.device) -> "TextTokens":
        """The same tokens on a device."""
        moved = (tuple(sent(part, device) for part in parts) for parts in self)
        return TextTokens(*moved)


class TextStates(NamedTuple):
    """f_s, or what a method made of it: all that a denoiser takes of prompts.

    Conditionings change the states and hand on the rest.

    Attributes:
        states: The encoders' states as the denoiser takes them, `B N D`.
        mask: True at real tokens, False at padding, `B N`.
        pooled: A vector for the whole prompt, `B P`, in families that take one.
        framing: Which part of which picture is to be made, `B 6`, for families that are told:
            height and width of the original, row and column of the cut's corner once it was
            resized, height and width of the cut. Where it is None, or 0 in a row, a whole picture.
    """

    states: Tensor
    mask: Tensor
    pooled: Tensor | None = None
    framing: Tensor | None = None

    def with_states(self, states: Tensor) -> "TextStates":
        """The same prompts with other states, `B N D`."""
        return self._replace(states=states)

    def rows(self, numbers: Sequence[int]) -> "TextStates":
        """Some of the prompts, in the order of their numbers; one may come up several times."""
        if list(numbers) == list(range(len(self.states))):
            return self
        if len(self.states) == 1:  # without a copy of the numbers to the device
            parts = (None if p is None else p.expand(len(numbers), *p.shape[1:]) for p in self)
            return TextStates(*parts)  # type: ignore[arg-type]
        at = sent(torch.tensor(numbers), self.states.device)
        pooled = None if self.pooled is None else self.pooled[at]
        framing = None if self.framing is None else self.framing[at]
        return TextStates(self.states[at], self.mask[at], pooled, framing)

    def then(self, *others: "TextStates") -> "TextStates":
        """All batches, one after the other; a batch of one is repeated to the largest's size."""
        every = (self, *others)
        assert len({texts.pooled is None for texts in every}) == 1, "of one family"
        size = max(len(texts.states) for texts in every)
        states = torch.cat([_repeated(texts.states, size) for texts in every])
        mask = torch.cat([_repeated(texts.mask, size) for texts in every])
        pooled = [_repeated(texts.pooled, size) for texts in every if texts.pooled is not None]
        framing = None
        if any(texts.framing is not None for texts in every):
            framing = torch.cat([texts._framing_of(size) for texts in every])
        return TextStates(states, mask, torch.cat(pooled) if pooled else None, framing)

    def _framing_of(self, size: int) -> Tensor:
        if self.framing is None:
            return torch.zeros(size, 6, device=self.states.device)
        return _repeated(self.framing, size)

    def mean(self) -> Tensor:
        """The mean state over the real tokens, padding left out, `B D`."""
        weights = self.mask.unsqueeze(-1).to(self.states.dtype)
        return (self.states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


class SharedByCopies(dict[_Key, _Value]):
    """What frozen text encoders made of prompts: large, and the same for all copies of a model."""

    def __deepcopy__(self, memo: Any) -> Self:
        return self


def _repeated(batch: Tensor, size: int) -> Tensor:
    return batch.expand(size, *batch.shape[1:]) if len(batch) == 1 else batch
