"""LoRA and a learnt token as the files of diffusers' loaders."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from idgen.export.exported_run import ExportedRun
from idgen.export.updates import TEXT, LearntWord, LowRankUpdate, text_layer

LORA_FILE = "pytorch_lora_weights.safetensors"
EMBEDDING_FILE = "learned_embeds.safetensors"


def low_rank_updates(run: ExportedRun, part: str) -> tuple[LowRankUpdate, ...]:
    """What training changed in a network, as LoRA.

    Args:
        run: Loaded.
        part: Its folder, such as `unet` or `text_encoder`.

    Raises:
        UserError: If LoRA cannot hold it.
    """
    updates = run.trained.networks[part]
    # Of DoRA and of what was trained in full, LoRA is the difference.
    return updates.as_low_rank(nn.Module() if updates.is_lora else run.plain_network(part))


def write_diffusers_lora(
    folder: Path,
    pipeline: str,
    networks: Mapping[str, Sequence[LowRankUpdate]],
    dtype: torch.dtype,
) -> Path | None:
    """Writes LoRA as `load_lora_weights` takes it, with alphas in its metadata.

    Args:
        folder: Where.
        pipeline: Diffusers' class of the base's pipeline, such as `StableDiffusionPipeline`.
        networks: Of the denoiser and the text encoders, by their folders.
        dtype: Of the weights.

    Returns:
        The file; None where there is nothing to write.
    """
    import diffusers

    arguments: dict[str, Any] = {}
    for part, updates in networks.items():
        if not updates:
            continue
        named = [replace(u, layer=text_layer(u.layer)) if _is_text(part) else u for u in updates]
        arguments[f"{part}_lora_layers"] = _state(named, dtype)
        # Its own names: transformers looks for layers by the end of a name.
        arguments[f"{part}_lora_adapter_metadata"] = _metadata(named)
    if not arguments:
        return None
    getattr(diffusers, pipeline).save_lora_weights(folder, weight_name=LORA_FILE, **arguments)
    return folder / LORA_FILE


def _is_text(part: str) -> bool:
    return part.startswith("text_encoder")


def _state(updates: Sequence[LowRankUpdate], dtype: torch.dtype) -> dict[str, torch.Tensor] | None:
    state = {}
    for update in updates:
        state[f"{update.layer}.lora_A.weight"] = update.down.to(dtype).contiguous()
        state[f"{update.layer}.lora_B.weight"] = update.up.to(dtype).contiguous()
    return state or None


def _metadata(updates: Sequence[LowRankUpdate]) -> dict[str, Any] | None:
    """Peft's LoraConfig: ranks and alphas, those of single layers where they differ."""
    if not updates:
        return None
    from peft import LoraConfig

    rank, alpha = updates[0].rank, updates[0].alpha
    names = [update.layer.removeprefix(TEXT) for update in updates]
    each = list(zip(names, updates, strict=True))
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=names,
        rank_pattern={name: u.rank for name, u in each if u.rank != rank},
        alpha_pattern={name: u.alpha for name, u in each if u.alpha != alpha},
    )
    return {key: _plain(value) for key, value in config.to_dict().items()}


def _plain(value: Any) -> Any:
    """A setting as JSON can hold it."""
    if isinstance(value, set):
        return sorted(value)
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return value


def write_embedding(path: Path, word: LearntWord, dtype: torch.dtype) -> Path:
    """Writes a learnt token, `1 D` under its name: diffusers, A1111, Forge and ComfyUI read it."""
    save_file({word.exported: word.vector.unsqueeze(0).to(dtype).contiguous()}, path)
    return path
