"""CLIP text encoders as the families with several of them use them."""

from typing import Any, NamedTuple

import torch
from torch import Tensor


class EncodedText(NamedTuple):
    """What a CLIP text encoder makes of prompts.

    Attributes:
        states: Those before its last layer, `B N D`, float32.
        last: Those after it and the final norm, `B N D`, float32.
        pooled: Its last state, after the final norm, at the prompt's end; projected where the
            encoder projects. `B P`, float32.
    """

    states: Tensor
    last: Tensor
    pooled: Tensor


def encode_clip(encoder: Any, ids: Tensor, mask: Tensor) -> EncodedText:
    """Encodes prompts; padding is not masked out inside the encoder.

    The prompt's end is found by the mask: transformers finds it in old configurations by the
    highest id, which a word that was added to the vocabulary would have.

    Args:
        encoder: transformers' `CLIPTextModel`, or the one with projection.
        ids: `B N`.
        mask: True at real tokens, begin and end among them, `B N`.
    """
    output = encoder(input_ids=ids, output_hidden_states=True)
    rows = torch.arange(len(ids), device=ids.device)
    pooled = output.last_hidden_state[rows, mask.sum(dim=1) - 1]
    projection = getattr(encoder, "text_projection", None)
    pooled = pooled if projection is None else projection(pooled)
    states, last = output.hidden_states[-2], output.last_hidden_state
    return EncodedText(states.float(), last.float(), pooled.float())
