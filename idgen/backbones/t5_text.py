"""T5 as a text encoder beside CLIP."""

from typing import Any

import torch
from torch import Tensor


def encode_t5(encoder: Any, ids: Tensor) -> Tensor:
    """A T5 encoder's last states, `B N D`, float32.

    As in SD 3 and FLUX, padding is not masked out inside the encoder.

    Args:
        encoder: transformers' `T5EncoderModel`.
        ids: `B N`.
    """
    # It holds some layers in float32 whatever its type, and in half precision overflows under
    # autocast.
    with torch.autocast(ids.device.type, enabled=False):
        states: Tensor = encoder(input_ids=ids).last_hidden_state
    return states.float()
