"""Pipelines in one file: diffusers' weights under the names of the models' first code."""

import re
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import save_file
from torch import Tensor

State = dict[str, Tensor]
_RESNET = (
    ("norm1", "in_layers.0"),
    ("conv1", "in_layers.2"),
    ("norm2", "out_layers.0"),
    ("conv2", "out_layers.3"),
    ("time_emb_proj", "emb_layers.1"),
    ("conv_shortcut", "skip_connection"),
)
_UNET = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_ATTENTION = (
    ("group_norm", "norm"),
    ("to_q", "q"),
    ("to_k", "k"),
    ("to_v", "v"),
    ("to_out.0", "proj_out"),
)
_OPEN_CLIP = (
    ("encoder.layers.", "transformer.resblocks."),
    ("layer_norm1", "ln_1"),
    ("layer_norm2", "ln_2"),
    ("fc1", "c_fc"),
    ("fc2", "c_proj"),
    ("self_attn.out_proj", "attn.out_proj"),
    ("embeddings.token_embedding", "token_embedding"),
    ("final_layer_norm", "ln_final"),
)


def save_single_file(folder: Path, path: Path, **changed: Any) -> Path:
    """Writes a Stable Diffusion or SDXL pipeline folder as one file.

    Args:
        folder: The folder.
        path: The file.
        changed: `dtype`, and names of parts that are left out, each false.
    """
    pipeline = DiffusionPipeline.from_pretrained(folder)
    dtype = changed.pop("dtype", torch.float32)
    is_xl = hasattr(pipeline, "text_encoder_2")
    layers = int(pipeline.unet.config.layers_per_block)
    text = "conditioner.embedders.0.transformer." if is_xl else "cond_stage_model.transformer."
    parts = {
        "unet": under("model.diffusion_model.", unet(pipeline.unet.state_dict(), layers)),
        "vae": under("first_stage_model.", vae(pipeline.vae.state_dict())),
        "text_encoder": under(text, clip(pipeline.text_encoder.state_dict())),
    }
    if is_xl:
        second = open_clip(pipeline.text_encoder_2.state_dict())
        parts["text_encoder_2"] = under("conditioner.embedders.1.model.", second)
    state = {
        name: value.to(dtype).contiguous()
        for part, weights in parts.items()
        if changed.get(part, True)
        for name, value in weights.items()
    }
    save_file(state, path)
    return path


def under(head: str, state: State) -> State:
    return {f"{head}{name}": value for name, value in state.items()}


def renamed(name: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for old, new in pairs:
        name = name.replace(old, new)
    return name


def unet(state: State, layers: int) -> State:
    """A U-Net whose blocks have `layers` resnets on the way down, and one more on the way up."""
    each = layers + 1
    with_attention = {n.split(".")[1] for n in state if re.match(r"up_blocks\.\d+\.attentions", n)}

    def place(name: str) -> str:
        stem, _, end = name.rpartition(".")
        if stem in _UNET:
            return f"{_UNET[stem]}.{end}"
        if found := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name):
            kind, at, rest = found.groups()
            if kind == "attentions":
                return f"middle_block.1.{rest}"
            return f"middle_block.{2 * int(at)}.{renamed(rest, _RESNET)}"
        found = re.fullmatch(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.*)", name)
        assert found is not None, name
        side, block, kind, at, rest = found.groups()
        side_name, first = ("input", 1) if side == "down" else ("output", 0)
        number = first + int(block) * each + int(at)
        if kind == "downsamplers":
            return f"input_blocks.{(int(block) + 1) * each}.0.op.{rest.removeprefix('conv.')}"
        if kind == "upsamplers":
            number = int(block) * each + layers
            return f"output_blocks.{number}.{2 if block in with_attention else 1}.{rest}"
        if kind == "attentions":
            return f"{side_name}_blocks.{number}.1.{rest}"
        return f"{side_name}_blocks.{number}.0.{renamed(rest, _RESNET)}"

    return {place(name): value for name, value in state.items()}


def vae(state: State) -> State:
    levels = 1 + max(int(n.split(".")[2]) for n in state if n.startswith("decoder.up_blocks."))
    made = {}
    for name, value in state.items():
        new = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
        new = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", new)
        new = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", new)
        for at in range(levels):
            new = new.replace(f"up_blocks.{at}.resnets", f"up.{levels - 1 - at}.block")
            new = new.replace(f"up_blocks.{at}.upsamplers.0", f"up.{levels - 1 - at}.upsample")
        new = re.sub(
            r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", new
        )
        if "mid_block.attentions.0." in new:
            new = new.replace("mid_block.attentions.0.", "mid.attn_1.")
            new = renamed(new, _ATTENTION)
            value = value[:, :, None, None] if value.ndim == 2 else value
        made[new] = value
    return made


def clip(state: State) -> State:
    """Under transformers' first names, whatever it calls them today."""
    return {
        f"text_model.{name.removeprefix('text_model.')}": value for name, value in state.items()
    }


def open_clip(state: State) -> State:
    made: State = {}
    for name, value in state.items():
        name = renamed(name.removeprefix("text_model."), _OPEN_CLIP)
        if name == "text_projection.weight":
            made["text_projection"] = value.T
        elif name == "embeddings.position_embedding.weight":
            made["positional_embedding"] = value
        elif found := re.fullmatch(r"(.*)\.self_attn\.q_proj\.(weight|bias)", name):
            head = f"text_model.encoder.layers.{found[1].rpartition('.')[2]}.self_attn"
            head = head if f"{head}.q_proj.weight" in state else head.removeprefix("text_model.")
            rows = [state[f"{head}.{at}_proj.{found[2]}"] for at in "qkv"]
            made[f"{found[1]}.attn.in_proj_{found[2]}"] = torch.cat(rows)
        elif ".self_attn." not in name:
            made[name] = value
    return made
