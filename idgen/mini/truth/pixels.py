"""Drawings and their masks in the mini world's own size, for what pixels decide."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from idgen.evaluation.observed import Found, Observed
from idgen.mini.world import SIDE


def found_masks(drawings: Observed) -> Found:
    """The masks of the drawings in which a subject is found, `F 64 64` bool in its `embeddings`."""
    masks = [None if m is None else torch.from_numpy(m) for m in drawings.found_masks]
    there = {
        row: _sized(mask[None])[0] >= 0.5 for row, mask in enumerate(masks) if mask is not None
    }
    none = torch.empty(0, SIDE, SIDE, dtype=torch.bool)
    return Found(list(there), torch.stack(list(there.values())) if there else none, len(masks))


def world_pixels(drawings: Observed, rows: Sequence[int]) -> Tensor:
    """Some of the drawings, `F 3 64 64` uint8."""
    shown = [_sized(drawings.images[row].cpu()).round().to(torch.uint8) for row in rows]
    return torch.stack(shown) if shown else torch.empty(0, 3, SIDE, SIDE, dtype=torch.uint8)


def _sized(image: Tensor) -> Tensor:
    """`C H W` to `C 64 64` float, each pixel the mean of what it covers."""
    return interpolate(image[None].float(), size=(SIDE, SIDE), mode="area")[0]
