"""Settings under which a training step needs less memory, and by how much less."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jsonargparse import Namespace

from idgen.backbones.pipeline import PipelineBackbone
from idgen.doctor.memory import MemoryNeeded, largest_latents, memory_needed
from idgen.doctor.surroundings import in_words
from idgen.errors import UserError
from idgen.module import PersonalizationModule
from idgen.runs.freezing import BuiltRun
from idgen.runs.sharding import is_sharded
from idgen.runs.trainer import check_trainer_builds

_BACKBONE, _PREPARATION = "model.backbone.init_args", "data.preparation.init_args"
_SIDE = 64  # pixels; sizes are multiples of it

Settings = Mapping[str, Any]
Build = Callable[[Namespace], BuiltRun]


@dataclass(frozen=True)
class Saving:
    """A change that would help.

    Attributes:
        settings: What is set, by key.
        saved: Bytes less at a step's peak.
    """

    settings: Settings
    saved: int

    def __str__(self) -> str:
        given = " with ".join(
            f"--{key} {str(value).lower() if isinstance(value, bool) else value}"
            for key, value in self.settings.items()
        )
        return f"{given} ({in_words(self.saved)} less)"


def count_step(
    config: Namespace, build: Build, device: torch.device, settings: Settings | None = None
) -> MemoryNeeded:
    """Counts a training step of a config.

    Args:
        config: Parsed.
        build: Builds a config's parts, light.
        device: Of the training.
        settings: Over the config, by key.

    Raises:
        UserError: If the settings cannot be.
    """
    changed = config.clone()
    for key, value in (settings or {}).items():
        changed[key] = value
    parts = build(changed).parts
    rows, precision = parts.data.batch_size, changed.trainer.precision
    shape = largest_latents(parts.data)
    split = is_sharded(parts.trainer.get("strategy"))
    processes = check_trainer_builds(parts.trainer).world_size if split else 1
    return memory_needed(parts.model, rows, precision, device.type == "cuda", shape, processes)


def savings(config: Namespace, build: Build, device: torch.device) -> list[Saving]:
    """What would help, the most first; each by itself.

    Args:
        config: Parsed.
        build: Builds a config's parts, light.
        device: Of the training.
    """
    now = count_step(config, build, device).total
    found = []
    for settings in _changes(config, build(config).parts.model, device):
        try:
            less = now - count_step(config, build, device, settings).total
        except (UserError, ValueError):
            continue  # such as a size that the backbone cannot have
        if less > 0:
            found.append(Saving(settings, less))
    return sorted(found, key=lambda saving: -saving.saved)


def _changes(
    config: Namespace, module: PersonalizationModule, device: torch.device
) -> Iterator[Settings]:
    if config.get(f"{_BACKBONE}.gradient_checkpointing") is False:
        yield {f"{_BACKBONE}.gradient_checkpointing": True}
    dtype, precision = _half(device)
    if device.type == "cuda" and config.get(f"{_BACKBONE}.dtype") == "float32":
        yield {f"{_BACKBONE}.dtype": dtype}
    if device.type == "cuda" and str(config.trainer.precision or "32").startswith("32"):
        yield {"trainer.precision": precision}
    rows, gathered = config.data.batch_size, config.trainer.accumulate_grad_batches
    if rows > 1:
        half = rows // 2
        whole = {"trainer.accumulate_grad_batches": -(-rows // half) * gathered}
        yield {"data.batch_size": half, **whole}
    if isinstance(module.backbone, PipelineBackbone):
        side = config.get(f"{_PREPARATION}.resolution") or module.backbone.resolution
        smaller = side * 3 // 4 // _SIDE * _SIDE
        if smaller >= _SIDE:
            yield {f"{_PREPARATION}.resolution": smaller}


def _half(device: torch.device) -> tuple[str, str]:
    """A dtype and a precision of half the bits that the device calculates in."""
    here = device.type == "cuda" and torch.cuda.is_available()
    if here and not torch.cuda.is_bf16_supported(including_emulation=False):
        return "float16", "16-mixed"
    return "bfloat16", "bf16-mixed"
