"""Text encoders that nothing trains: used before training, and then let go of."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Self

import torch
from torch import Tensor, nn

from idgen.backbones.backbone import Backbone
from idgen.backbones.text import SharedByCopies, TextStates, TextTokens
from idgen.devices import free

Outputs = tuple[Tensor, ...]
"""What one text encoder makes of B prompts, `B ...` each."""


class FrozenTextBackbone(Backbone, ABC):
    """A backbone whose frozen text encoders are not in memory while it is trained.

    `keep_texts` encodes all that training will read, and lets go of the encoders in which nothing
    is trained. A prompt that was not among it has them loaded again, to be freed after: outside of
    the module, so that what goes through its weights, such as their average, finds the same ones.

    A family of several text encoders defines `encode_part` and `join_text`, so that one of them
    may be let go of while another is trained; one that overrides `encode_text` has all or none.
    """

    def __init__(self) -> None:
        super().__init__()
        self._gone: frozenset[str] = frozenset()
        self._outputs: dict[tuple[str, str], Outputs] = SharedByCopies()
        # A list, so that nn.Module takes nothing in it for a part of the model.
        self._again: list[Self] = []
        self._is_text_open = False

    @property
    @abstractmethod
    def text_parts(self) -> tuple[str, ...]:
        """The names of the text encoders, in order."""

    @abstractmethod
    def load_parts(self, names: Collection[str]) -> None:
        """Loads some of the networks, frozen, in evaluation mode."""

    @property
    def has_let_go(self) -> bool:
        """Whether text encoders went."""
        return bool(self._gone)

    def unloaded(self) -> Self:
        """The same backbone without weights or tuning; see `Backbone`."""
        bare = super().unloaded()
        bare._gone, bare._outputs, bare._again = frozenset(), SharedByCopies(), []
        bare._is_text_open = False
        return bare

    def frozen_texts(self, trained: Collection[str], trains_text: bool) -> tuple[str, ...]:
        """The text encoders that are let go of before training.

        Args:
            trained: The names of what is trained in the backbone.
            trains_text: Whether f_s changes while it is trained.
        """
        tuned = {name.partition(".")[0] for name in trained}
        frozen = tuple(part for part in self.text_parts if part not in tuned)
        # Where all are frozen and yet f_s changes, something unknown changes it.
        unknown = trains_text and len(frozen) == len(self.text_parts)
        if unknown or (len(frozen) < len(self.text_parts) and not self._encodes_apart):
            return ()
        return frozen

    @property
    def _encodes_apart(self) -> bool:
        return type(self).encode_text is FrozenTextBackbone.encode_text

    def keep_texts(self, prompts: Iterable[str], device: torch.device) -> None:
        """Encodes prompts, and lets go of the text encoders in which nothing is trained."""
        trained = [name for name, weight in self.named_parameters() if weight.requires_grad]
        frozen = self.frozen_texts(trained, self._trains_text)
        if not frozen:
            return
        each = list(dict.fromkeys(prompts))
        here = [part for part in frozen if part in self._modules]
        # Not one by one: transformers' own `to` refuses what is held in few bits.
        nn.ModuleList(self.get_submodule(part) for part in here).to(device)
        with self.text_side():
            if self._trains_text:
                for part in frozen if each else ():
                    self._outputs_of(part, each, self.tokenize(each).to(device))
            else:
                for prompt in each:
                    self._fixed(prompt, device)
        for part in here:
            delattr(self, part)
        self._gone = frozenset(frozen)
        if here:
            free(device)

    @contextmanager
    def text_side(self) -> Iterator[None]:
        """Text encoders that are loaded again inside stay until its end; see `Backbone`."""
        if self._is_text_open:
            yield
            return
        self._is_text_open = True
        try:
            yield
        finally:
            self._is_text_open = False
            if self._again:
                self._again.clear()
                free(self.device)

    @property
    def tuned_text_encoders(self) -> Mapping[int, nn.Module]:
        """The text encoders in which something is trained, by their numbers."""
        parts = enumerate(self.text_parts)
        here = {n: self.get_submodule(part) for n, part in parts if part in self._modules}
        return {n: e for n, e in here.items() if any(w.requires_grad for w in e.parameters())}

    def encode_part(self, part: str, ids: Tensor, mask: Tensor) -> Outputs:
        """What one text encoder makes of prompts, `B ...` each.

        Args:
            part: Its name, one of `text_parts`.
            ids: `B N`.
            mask: True at real tokens, `B N`.
        """
        raise NotImplementedError(f"{type(self).__name__} encodes with all text encoders at once")

    def join_text(self, outputs: Sequence[Outputs], masks: Sequence[Tensor]) -> TextStates:
        """f_s of what each text encoder made of prompts.

        Args:
            outputs: Of `encode_part`, in the order of `text_parts`.
            masks: True at real tokens, `B N` each, in the same order.
        """
        raise NotImplementedError(f"{type(self).__name__} encodes with all text encoders at once")

    def encode_text(self, tokens: TextTokens) -> TextStates:
        """f_s: what the text encoders make of prompts, joined, `B N D`, float32."""
        each = zip(self.text_parts, tokens.ids, tokens.masks, strict=True)
        return self.join_text([self.encode_part(*one) for one in each], tokens.masks)

    def _encode(self, prompts: Sequence[str], device: torch.device) -> TextStates:
        if not self._gone:
            return super()._encode(prompts, device)
        tokens = self.tokenize(prompts).to(device)
        if self._gone == set(self.text_parts):
            with self.text_side():
                return self._loaded_again(device).encode_text(tokens)
        each = zip(self.text_parts, tokens.ids, tokens.masks, strict=True)
        outputs = [
            self._outputs_of(part, prompts, tokens)
            if part in self._gone
            else self.encode_part(part, ids, mask)
            for part, ids, mask in each
        ]
        return self.join_text(outputs, tokens.masks)

    def _outputs_of(self, part: str, prompts: Sequence[str], tokens: TextTokens) -> Outputs:
        """What a frozen text encoder makes of prompts, each encoded by itself and only once."""
        number = self.text_parts.index(part)
        ids, masks = tokens.ids[number], tokens.masks[number]
        rows = [
            self._output_of(part, prompt, ids[at : at + 1], masks[at : at + 1])
            for at, prompt in enumerate(prompts)
        ]
        return tuple(torch.cat(outputs) for outputs in zip(*rows, strict=True))

    def _output_of(self, part: str, prompt: str, ids: Tensor, mask: Tensor) -> Outputs:
        found = self._outputs.get((part, prompt))
        if found is None:
            with self.text_side(), self._exactly(ids.device):
                network = self._loaded_again(ids.device) if part in self._gone else self
                found = network.encode_part(part, ids, mask)
            self._outputs[part, prompt] = found
        return tuple(output.to(ids.device) for output in found)

    def _loaded_again(self, device: torch.device) -> Self:
        """The text encoders that were let go of, on a device, until `text_side` ends."""
        if not self._again:
            bare = self.unloaded()
            # transformers draws random weights before it reads those of the files.
            with torch.random.fork_rng(devices=[]):
                bare.load_parts(self._gone)
            self._again.append(bare.to(device))
        return self._again[0]
