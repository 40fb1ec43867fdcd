"""Tensors that are made once and kept on the disk; losing them costs time only."""

import contextlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from idgen.files import atomic_write
from idgen.fingerprint import cache_folder, file_digest, fingerprint_fields

Tensors = dict[str, Tensor]


def stored(make: Callable[[], Tensors], **key: str | int) -> Tensors:
    """What was made before under a key, else what is made now, which is kept.

    Args:
        make: Makes the tensors.
        key: All that decides them but torch and idgen's own source, which always count.

    Returns:
        The tensors, on the CPU.
    """
    name = f"{fingerprint_fields(world=_world(), **key)}.safetensors"
    # Whatever is wrong with the file or its folder is no error: it is made again.
    with contextlib.suppress(OSError, RuntimeError, SafetensorError):
        kept: Tensors = load((cache_folder() / "mini" / name).read_bytes())
        return kept
    made = {part: tensor.cpu().contiguous() for part, tensor in make().items()}
    with contextlib.suppress(OSError, RuntimeError):
        path = cache_folder() / "mini" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, save(made))
    return made


@cache
def _world() -> str:
    """Hash of what draws the world and looks at it."""
    root = Path(__file__).parents[2]
    sources = sorted(path for part in ("mini", "metrics") for path in (root / part).rglob("*.py"))
    code = {str(path.relative_to(root)): file_digest(path) for path in sources}
    return fingerprint_fields(torch=torch.__version__, **code)
