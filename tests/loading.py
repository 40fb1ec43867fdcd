"""Keeps weights from being loaded, and says which were asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import diffusers
import open_clip
import pytest
import safetensors
import safetensors.torch
import torch
import transformers

# Imported before any loader is replaced: a module that first was within would keep a replaced one.
import idgen.commands.benchmark
import idgen.commands.train  # noqa: F401

_LOADERS: tuple[tuple[Any, str], ...] = (
    (torch, "load"),
    (torch.jit, "load"),
    (safetensors, "safe_open"),
    (safetensors.torch, "load_file"),
    (safetensors.torch, "load"),
    (diffusers.ModelMixin, "from_pretrained"),
    (transformers.PreTrainedModel, "from_pretrained"),
    (open_clip, "create_model"),
)


@contextmanager
def nothing_loaded() -> Iterator[None]:
    """Fails if weights are loaded within it."""
    asked: list[str] = []

    def refuse(name: str) -> Any:
        def loader(*given: object, **options: object) -> NoReturn:
            asked.append(name)
            raise AssertionError(f"{name} was called with {given}")

        return loader

    with pytest.MonkeyPatch.context() as patched:
        for owner, name in _LOADERS:
            patched.setattr(owner, name, refuse(f"{owner.__name__}.{name}"))
        yield
    assert asked == [], asked
