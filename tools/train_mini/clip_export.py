"""Writes a trained CLIP as an open_clip folder, and its text tower for diffusers."""

import json
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CLIP
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

_PREPROCESS = {
    "size": [64, 64],
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


def half(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights in half precision, as they are stored; whole numbers stay as they are."""
    return {
        name: (value.half() if value.is_floating_point() else value).cpu().contiguous()
        for name, value in state.items()
    }


def export_open_clip(
    model: CLIP, config: dict[str, Any], tokenizer: CLIPTokenizer, folder: Path
) -> None:
    """Write a folder that open_clip loads as ``local-dir:FOLDER``."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    whole = {"model_cfg": config, "preprocess_cfg": _PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(whole, indent=2) + "\n")
    save_file(half(model.state_dict()), folder / "open_clip_model.safetensors")


def export_text_encoder(
    model: CLIP, text: dict[str, Any], tokenizer: CLIPTokenizer, folder: Path
) -> None:
    """Write the text tower as a ``CLIPTextModel``: the same states before projection."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=text["width"],
        intermediate_size=round(text["width"] * text["mlp_ratio"]),
        projection_dim=model.text_projection.shape[1],
        num_hidden_layers=text["layers"],
        num_attention_heads=text["heads"],
        max_position_embeddings=model.positional_embedding.shape[0],
        hidden_act="gelu",
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    encoder = CLIPTextModel(config)
    prefix = "text_model." if any(k.startswith("text_model.") for k in encoder.state_dict()) else ""
    state = {f"{prefix}{name}": value for name, value in text_state(model).items()}
    encoder.load_state_dict(state)
    encoder.eval().half().save_pretrained(folder)
    config_path = folder / "config.json"
    stored = json.loads(config_path.read_text())
    # Stored in half precision, computed in single.
    config_path.write_text(json.dumps(stored | {"dtype": "float32"}, indent=2) + "\n")
    (folder / "FINAL").touch()


def text_state(model: CLIP) -> dict[str, Tensor]:
    """The text tower's weights under transformers' names."""
    state = {
        "embeddings.token_embedding.weight": model.token_embedding.weight,
        "embeddings.position_embedding.weight": model.positional_embedding,
        "final_layer_norm.weight": model.ln_final.weight,
        "final_layer_norm.bias": model.ln_final.bias,
    }
    for k, block in enumerate(model.transformer.resblocks):
        layer = f"encoder.layers.{k}"
        pairs = {"layer_norm1": block.ln_1, "layer_norm2": block.ln_2}
        pairs |= {"self_attn.out_proj": block.attn.out_proj}
        pairs |= {"mlp.fc1": block.mlp.c_fc, "mlp.fc2": block.mlp.c_proj}
        for name, module in pairs.items():
            state[f"{layer}.{name}.weight"] = module.weight
            state[f"{layer}.{name}.bias"] = module.bias
        weights, biases = block.attn.in_proj_weight.chunk(3), block.attn.in_proj_bias.chunk(3)
        for name, weight, bias in zip("qkv", weights, biases, strict=True):
            state[f"{layer}.self_attn.{name}_proj.weight"] = weight
            state[f"{layer}.self_attn.{name}_proj.bias"] = bias
    return {name: torch.as_tensor(value).detach().clone() for name, value in state.items()}
