"""Telling OpenAI's CLIP weights in a file: they need QuickGELU, which no file of them says."""

import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# OpenAI trained with the first kind in half precision, and with the second in single.
_HALF = ("visual.proj", "visual.conv1.weight", "text_projection", "text.text_projection")
_SINGLE = (
    "token_embedding.weight",
    "text.token_embedding.weight",
    "positional_embedding",
    "text.positional_embedding",
    "ln_final.weight",
    "text.ln_final.weight",
)
_Read = Callable[[str], Tensor | None]


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive, as OpenAI publishes its weights."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def are_openais(path: Path) -> bool:
    """Whether a file's weights have the mark of OpenAI's training, in whatever precision stored.

    Their projections and convolutions have half precision's few digits, their embeddings or norms
    have more; weights trained or rounded in one precision have one kind of digits throughout.

    Args:
        path: A file of an open_clip state dict: safetensors, or what `torch.save` writes.

    Returns:
        False too for a layout without these weights.
    """
    if path.suffix in (".npz", ".npy"):  # big_vision's, which open_clip converts
        return False
    with _reader(path) as read:
        half = [value for value in map(read, _HALF) if value is not None]
        single = [value for value in map(read, _SINGLE) if value is not None]
        return bool(half) and all(map(_is_half, half)) and not all(map(_is_half, single))


def _is_half(value: Tensor) -> bool:
    return torch.equal(value.half().double(), value.double())


@contextmanager
def _reader(path: Path) -> Iterator[_Read]:
    """Reads single weights: neither format needs the whole file."""
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            names = set(file.keys())
            yield lambda name: file.get_tensor(name) if name in names else None
    else:
        yield _of_mapping(
            torch.load(path, "cpu", weights_only=True, mmap=zipfile.is_zipfile(path) or None)
        )


def _of_mapping(content: Any) -> _Read:
    weights = content.get("state_dict", content) if isinstance(content, Mapping) else {}
    # Of a training on several GPUs each name begins so.
    prefix = "module." if any(str(name).startswith("module.") for name in weights) else ""
    return lambda name: weights.get(prefix + name)
