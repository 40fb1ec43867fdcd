"""Weights that LoRA was laid into, kept from one batch of drawings to the next."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from idgen.backbones.quantization import is_quantized


@dataclass(frozen=True)
class _Fold:
    """A layer's weight with LoRA in it.

    Attributes:
        layer: Of peft's.
        weight: W + (alpha / r) B A.
        adapters: What peft then takes for merged.
        caches: What peft keeps of it, for DoRA.
    """

    layer: Any
    weight: Tensor
    adapters: list[str]
    caches: dict[str, Any]

    @classmethod
    def of(cls, layer: Any) -> "_Fold":
        """Of a layer that peft has just merged."""
        weight = layer.get_base_layer().weight.data
        return cls(layer, weight, list(layer.merged_adapters), dict(layer._caches))


class Folds:
    """Lays LoRA into copies of the weights, and keeps the copies where it is asked to.

    To lay it in again for each batch takes about as long as a pass of a small denoiser.
    """

    def __init__(self) -> None:
        """There are none yet."""
        self._keeps = False
        self._kept: list[_Fold] = []
        # What LoRA holds, and what it held as it was folded.
        self._parts: list[Tensor] = []
        self._made_of: list[Tensor] = []

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Keeps what is folded inside, as long as LoRA stays as it is; nested contexts share it."""
        if self._keeps:
            yield
            return
        self._keeps = True
        try:
            yield
        finally:
            self._keeps = False
            self._forget()

    @contextmanager
    def inside(self, layers: Sequence[Any]) -> Iterator[None]:
        """Layers compute with what is folded; afterwards their weights are as before, to the bit.

        What is held in few bits stays beside: it would be rounded again.

        Args:
            layers: Of peft's.
        """
        folded = [layer for layer in layers if not is_quantized(layer.get_base_layer())]
        weights = [layer.get_base_layer().weight for layer in folded]
        originals = [weight.data for weight in weights]
        try:
            with _exactly(originals):
                self._lay_in(folded)
            for layer in folded:
                # Straight to the layer that LoRA is in: peft's way there is long for a small one.
                layer.__dict__["forward"] = layer.get_base_layer().forward
            yield
        finally:
            # Not peft's `unmerge`: to take away what was added would leave its rounding behind.
            for layer, weight, original in zip(folded, weights, originals, strict=True):
                layer.__dict__.pop("forward", None)
                weight.data = original
                layer.merged_adapters.clear()
                layer._caches.clear()

    def _lay_in(self, layers: Sequence[Any]) -> None:
        if self._is_unchanged(layers):
            for fold in self._kept:
                fold.layer.get_base_layer().weight.data = fold.weight
                fold.layer.merged_adapters.extend(fold.adapters)
                fold.layer._caches.update(fold.caches)
            return
        self._forget()
        for layer in layers:
            weight = layer.get_base_layer().weight
            weight.data = weight.data.clone()
            layer.merge()
        if self._keeps:
            self._kept = [_Fold.of(layer) for layer in layers]
            self._parts = _added(layers)
            self._made_of = [part.detach().clone() for part in self._parts]

    def _is_unchanged(self, layers: Sequence[Any]) -> bool:
        """Whether what is kept is of these layers, and of what they hold."""
        if not self._kept or [fold.layer for fold in self._kept] != list(layers):
            return False
        if [part.device for part in self._parts] != [part.device for part in self._made_of]:
            return False
        # By content: whoever averages weights changes them past their version counters.
        changes: Any = torch._foreach_norm(torch._foreach_sub(self._parts, self._made_of))
        return not bool(torch.stack(changes).ne(0).any())

    def _forget(self) -> None:
        self._kept, self._parts, self._made_of = [], [], []


def _added(layers: Sequence[Any]) -> list[Tensor]:
    """All that LoRA has in the layers, whether it is trained now or not."""
    named = (one for layer in layers for one in layer.named_parameters())
    return [weight for name, weight in named if not name.startswith("base_layer.")]


@contextmanager
def _exactly(weights: Sequence[Tensor]) -> Iterator[None]:
    """Without autocast, which would round B A, and with weights that may be trained on later."""
    device = weights[0].device.type if weights else "cpu"
    with torch.inference_mode(False), torch.no_grad(), torch.autocast(device, enabled=False):
        yield
