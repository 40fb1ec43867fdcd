"""Whether files of weights are whole, and what they hold: checkpoints, safetensors."""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from idgen.errors import UserError

WEIGHTS_ALONE = (
    "the checkpoint holds weights alone, and no sound state of optimizer and loops to train on "
    "from; draw with it, or train on from another"
)


def check_archive(path: Path) -> None:
    """Compares every record of a file that `torch.save` wrote with the checksum beside it.

    `torch.load` does not look at them, so that it takes a flipped bit for a weight.

    Args:
        path: The file.

    Raises:
        ValueError: If a record differs, or the file is no such archive.
        OSError: If it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise ValueError(f"{error}") from error
    if damaged is not None:
        raise ValueError(f"{damaged} differs from its checksum")


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and bytes, in any order, as 64 hexadecimal digits.

    Args:
        weights: Tensors of any shape by name.
    """
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def text_digest(text: str) -> str:
    """SHA-256 of a text, as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def check_trained(weights: Mapping[str, Tensor], digest: str | None) -> None:
    """Refuses weights that cannot be drawn with.

    Args:
        weights: Tensors of any shape by name.
        digest: What `weights_digest` gave when they were saved; None if nothing was noted.

    Raises:
        UserError: If one is infinite or NaN, or they are not those that were saved.
    """
    for name, value in weights.items():
        if not value.isfinite().all():
            raise UserError(
                f"the checkpoint's weight {name} is not finite; take another checkpoint"
            )
    if digest is not None and weights_digest(weights) != digest:
        raise UserError(
            "the checkpoint's weights differ from their checksum: it is damaged, or was changed by "
            "hand; take another checkpoint"
        )


def can_go_on(checkpoint: Mapping[str, Any]) -> bool:
    """Whether a checkpoint holds what it takes to train on, and not weights alone."""
    states, loops = checkpoint.get("optimizer_states"), checkpoint.get("loops")
    whole = isinstance(states, list) and all(map(_is_state, states))
    counted = isinstance(loops, Mapping) and "fit_loop" in loops
    schedules = isinstance(checkpoint.get("lr_schedulers"), list)
    return bool(states) and whole and counted and schedules


def _is_state(state: Any) -> bool:
    """Whether this is an optimizer's state, with moments that are numbers."""
    if not isinstance(state, Mapping) or not {"param_groups", "state"} <= state.keys():
        return False
    moments = [value for of_one in state["state"].values() for value in of_one.values()]
    return all(value.isfinite().all() for value in moments if isinstance(value, Tensor))


def weight_names(path: Path) -> list[str]:
    """The names of a safetensors file's weights, of which none is read.

    Args:
        path: The file.

    Raises:
        ValueError: If it is no such file, or cut short.
        OSError: If it cannot be read.
    """
    return list(weight_header(path))


def weight_header(path: Path) -> dict[str, dict[str, Any]]:
    """What a safetensors file says of its weights by name: `dtype`, `shape` and `data_offsets`.

    Args:
        path: The file.

    Raises:
        ValueError: If it is no such file, or cut short.
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        # The length of its JSON header comes first.
        length, size = int.from_bytes(file.read(8), "little"), path.stat().st_size
        if length > size - 8:
            raise ValueError("it is no safetensors file, or cut short")
        header: dict[str, dict[str, Any]] = json.loads(file.read(length))
    header.pop("__metadata__", None)
    end = max((weight["data_offsets"][1] for weight in header.values()), default=0)
    if 8 + length + end != size:
        raise ValueError("it is cut short")
    return header
