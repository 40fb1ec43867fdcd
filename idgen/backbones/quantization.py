"""Frozen weights in 8 or 4 bits, by bitsandbytes (Dettmers et al. 2022; 2023)."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import nn

from idgen.errors import UserError

Dtype = Literal["float32", "bfloat16", "float16", "int8", "nf4"]
Quantization = Literal["nf4", "int8"]
BYTES: dict[Quantization, float] = {"nf4": 0.5, "int8": 1.0}
"""Of a weight; nf4's scales, a number for each 64 weights, are left out."""


def quantization_of(dtype: Dtype) -> Quantization | None:
    """In how few bits weights are held; None for types that are computed in as well."""
    return dtype if dtype in ("nf4", "int8") else None


def check_quantization(kind: Quantization, parameter: str) -> None:
    """Refuses what this machine cannot do.

    Args:
        kind: Which.
        parameter: The parameter that asked for it, for errors.

    Raises:
        UserError: If bitsandbytes is not installed, or there is no CUDA GPU.
    """
    if find_spec("bitsandbytes") is None:
        raise UserError(
            f"{parameter}: {kind!r} needs bitsandbytes, which is not installed: pip install "
            "'idgen[quant]'"
        )
    if not torch.cuda.is_available():
        raise UserError(f"{parameter}: {kind!r} needs a CUDA GPU, and there is none; take bfloat16")


def quantization_config(kind: Quantization, dtype: torch.dtype, network: str) -> Any:
    """What `from_pretrained` takes.

    Args:
        kind: Which.
        dtype: What is computed in.
        network: The network's class, such as `diffusers.FluxTransformer2DModel`, whose library has
            a class of its own for it.
    """
    config = import_module(network.partition(".")[0]).BitsAndBytesConfig
    if kind == "int8":
        return config(load_in_8bit=True)
    return config(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def is_quantized(layer: nn.Module) -> bool:
    """Whether a layer's weight is held in 8 or 4 bits."""
    weight = getattr(layer, "weight", None)
    return isinstance(weight, torch.Tensor) and not weight.is_floating_point()
