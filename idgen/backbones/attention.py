"""Where a denoiser of diffusers looks: maps of its cross-attention."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from idgen.devices import sent


@dataclass
class RecordedAttention:
    """Queries and keys of cross-attention layers, as one prediction made them.

    Attributes:
        queries: By layer, `B hw (heads d)`.
        keys: By layer, `B N (heads d)`.
    """

    queries: dict[Any, Tensor] = field(default_factory=dict)
    keys: dict[Any, Tensor] = field(default_factory=dict)

    def map(self, size: tuple[int, int], places: Tensor) -> Tensor:
        """How much each place of a picture looks at some tokens, the mean over layers of a size.

        Args:
            size: h and w of the maps.
            places: The tokens that are meant, `B N` bool, on the CPU.

        Returns:
            `B h w` in [0, 1], float32; 0 in rows where no token is meant.

        Raises:
            ValueError: If no layer has that size.
        """
        height, width = size
        layers = [at for at, query in self.queries.items() if query.shape[1] == height * width]
        if not layers:
            raise ValueError(f"no layer of cross-attention has maps of {height} x {width}")
        some = places.any(dim=1).nonzero().squeeze(1)
        device = self.queries[layers[0]].device
        meant, rows = sent(places[some], device), sent(some, device)
        maps = [
            attention_to(self.queries[at][rows], self.keys[at][rows], meant, at.heads, at.scale)
            for at in layers
        ]
        found = torch.stack(maps).mean(dim=0)
        whole = found.new_zeros(len(places), height * width).index_copy(0, rows, found)
        return whole.view(len(places), height, width)

    def maps(
        self, size: Sequence[int], places: Tensor, reductions: Collection[int]
    ) -> dict[int, Tensor]:
        """Maps by how much smaller than the latents they are.

        Args:
            size: h and w of the latents.
            places: The tokens that are meant, `B N` bool, on the CPU.
            reductions: By how much; sizes that do not divide are rounded up.

        Returns:
            By reduction r, `B h/r w/r` in [0, 1], float32.

        Raises:
            ValueError: If no layer has a size.
        """
        height, width = size
        return {r: self.map((-(-height // r), -(-width // r)), places) for r in reductions}


def attention_to(query: Tensor, key: Tensor, places: Tensor, heads: int, scale: float) -> Tensor:
    """softmax(Q K^T * scale) summed over some tokens, the mean over heads (Vaswani et al. 2017).

    Args:
        query: Q, `B n (heads d)`.
        key: K, `B N (heads d)`.
        places: The tokens that are meant, `B N` bool.
        heads: How many.
        scale: 1 / sqrt(d), or a layer's own.

    Returns:
        `B n` in [0, 1], float32.
    """
    with torch.autocast(query.device.type, enabled=False):
        q, k = (
            part.float().view(*part.shape[:2], heads, -1).transpose(1, 2) for part in (query, key)
        )
        shares = (q @ k.transpose(-1, -2) * scale).softmax(dim=-1)
        meant: Tensor = shares @ places.float()[:, None, :, None]
        return meant.squeeze(-1).mean(dim=1)


@contextmanager
def recorded_attention(denoiser: nn.Module) -> Iterator[RecordedAttention]:
    """Keeps queries and keys of the cross-attention of one prediction that is made inside.

    They are what the layers computed, with all that a tuning adds; nothing is computed twice.
    Maps are made afterwards, so that gradient checkpointing, which runs layers again, sees none of
    it.

    Args:
        denoiser: One of diffusers, with `Attention` layers.
    """
    from diffusers.models.attention_processor import Attention

    recorded, handles = RecordedAttention(), []
    for layer in denoiser.modules():
        if isinstance(layer, Attention) and layer.is_cross_attention:
            for projection, into in (
                (layer.to_q, recorded.queries),
                (layer.to_k, recorded.keys),
            ):
                handles.append(projection.register_forward_hook(_keeping(layer, into)))
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()


def _keeping(layer: nn.Module, into: dict[Any, Tensor]) -> Any:
    def keep(_: nn.Module, inputs: Any, output: Tensor) -> None:
        into[layer] = output

    return keep
