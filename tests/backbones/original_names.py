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
    """Writes a pipeline folder of Stable Diffusion 1.x, XL, 3 or FLUX.1 as one file.

    Args:
        folder: The folder.
        path: The file.
        changed: `dtype`; `open_clip`, true for the text encoder of Stable Diffusion 2.x; and names
            of parts, each false where it is left out, or the type that it is in.
    """
    pipeline = DiffusionPipeline.from_pretrained(folder)
    dtype, is_two = changed.pop("dtype", torch.float32), changed.pop("open_clip", False)
    kind = type(pipeline).__name__
    parts = _transformer_parts(pipeline) if "transformer" in pipeline.components else None
    parts = parts or _unet_parts(pipeline, kind == "StableDiffusionXLPipeline", is_two)
    kept = {part: changed.get(part, dtype) for part in parts}
    state = {
        name: value.to(kept[part]).contiguous()
        for part, weights in parts.items()
        if kept[part]
        for name, value in weights.items()
    }
    save_file(state, path)
    return path


def _unet_parts(pipeline: Any, is_xl: bool, is_two: bool) -> dict[str, State]:
    layers = int(pipeline.unet.config.layers_per_block)
    text, named = "cond_stage_model.transformer.", clip
    if is_xl:
        text = "conditioner.embedders.0.transformer."
    if is_two:
        text, named = "cond_stage_model.model.", open_clip
    parts = {
        "unet": under("model.diffusion_model.", unet(pipeline.unet.state_dict(), layers)),
        "vae": under("first_stage_model.", vae(pipeline.vae.state_dict())),
        "text_encoder": under(text, named(pipeline.text_encoder.state_dict())),
    }
    if is_xl:
        second = open_clip(pipeline.text_encoder_2.state_dict())
        parts["text_encoder_2"] = under("conditioner.embedders.1.model.", second)
    return parts


def _transformer_parts(pipeline: Any) -> dict[str, State]:
    is_flux = type(pipeline).__name__ == "FluxPipeline"
    state = pipeline.transformer.state_dict()
    heads = {"text_encoder": "clip_l", "text_encoder_2": "t5xxl" if is_flux else "clip_g"}
    if not is_flux:
        heads["text_encoder_3"] = "t5xxl"
    parts = {
        "transformer": under("model.diffusion_model.", flux(state) if is_flux else mmdit(state)),
        "vae": under("first_stage_model.", vae(pipeline.vae.state_dict())),
    }
    for part, head in heads.items():
        weights = getattr(pipeline, part).state_dict()
        if head != "t5xxl":
            plain = {n: v for n, v in weights.items() if n != "text_projection.weight"}
            projection = {n: v for n, v in weights.items() if n not in plain}
            weights = {**clip(plain), **projection}
        # The same weight under another name.
        weights.pop("encoder.embed_tokens.weight", None)
        parts[part] = under(f"text_encoders.{head}.transformer.", weights)
    return parts


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


_EMBEDDERS = {
    "time_text_embed.timestep_embedder": ("t_embedder.mlp.0", "t_embedder.mlp.2"),
    "time_text_embed.text_embedder": ("y_embedder.mlp.0", "y_embedder.mlp.2"),
}
_JOINT = (
    ("attn.to_out.0", "x_block.attn.proj"),
    ("attn.to_add_out", "context_block.attn.proj"),
    ("attn.norm_q", "x_block.attn.ln_q"),
    ("attn.norm_k", "x_block.attn.ln_k"),
    ("attn.norm_added_q", "context_block.attn.ln_q"),
    ("attn.norm_added_k", "context_block.attn.ln_k"),
    ("attn2.to_out.0", "x_block.attn2.proj"),
    ("attn2.norm_q", "x_block.attn2.ln_q"),
    ("attn2.norm_k", "x_block.attn2.ln_k"),
    ("norm1_context.linear", "context_block.adaLN_modulation.1"),
    ("norm1.linear", "x_block.adaLN_modulation.1"),
    ("ff_context.net.0.proj", "context_block.mlp.fc1"),
    ("ff_context.net.2", "context_block.mlp.fc2"),
    ("ff.net.0.proj", "x_block.mlp.fc1"),
    ("ff.net.2", "x_block.mlp.fc2"),
)
_JOINT_QKV = {
    "x_block.attn": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "context_block.attn": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "x_block.attn2": ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
}


def mmdit(state: State) -> State:
    """The transformer of Stable Diffusion 3."""
    rest, made = dict(state), {}
    outer = {
        "pos_embed.pos_embed": "pos_embed",
        "pos_embed.proj": "x_embedder.proj",
        "context_embedder": "context_embedder",
        "proj_out": "final_layer.linear",
        "norm_out.linear": "final_layer.adaLN_modulation.1",
    }
    for head, (first, second) in _EMBEDDERS.items():
        outer |= {f"{head}.linear_1": first, f"{head}.linear_2": second}
    last = max(int(n.split(".")[1]) for n in state if n.startswith("transformer_blocks."))
    for block in range(last + 1):
        head = f"transformer_blocks.{block}."
        for joined, layers in _JOINT_QKV.items():
            for kind in ("weight", "bias"):
                if f"{head}{layers[0]}.{kind}" in rest:
                    rows = [rest.pop(f"{head}{layer}.{kind}") for layer in layers]
                    made[f"joint_blocks.{block}.{joined}.qkv.{kind}"] = torch.cat(rows)
    turned = ("norm_out.linear", f"transformer_blocks.{last}.norm1_context.linear")
    for name, value in rest.items():
        stem, _, kind = name.rpartition(".")
        if stem in turned:
            value = halves_turned(value)
        if name == "pos_embed.pos_embed":
            made["pos_embed"] = value
        elif stem in outer:
            made[f"{outer[stem]}.{kind}"] = value
        else:
            _, number, layer = stem.split(".", 2)
            made[f"joint_blocks.{number}.{dict(_JOINT)[layer]}.{kind}"] = value
    return made


def halves_turned(value: Tensor) -> Tensor:
    """Diffusers has the scale before the shift."""
    scale, shift = value.chunk(2)
    return torch.cat([shift, scale])


_FLUX = {
    "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
    "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
    "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
    "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
    "context_embedder": "txt_in",
    "x_embedder": "img_in",
    "proj_out": "final_layer.linear",
    "norm_out.linear": "final_layer.adaLN_modulation.1",
}
_FLUX_BLOCK = {
    "transformer_blocks": {
        "norm1.linear": "img_mod.lin",
        "norm1_context.linear": "txt_mod.lin",
        "attn.norm_q": "img_attn.norm.query_norm",
        "attn.norm_k": "img_attn.norm.key_norm",
        "attn.norm_added_q": "txt_attn.norm.query_norm",
        "attn.norm_added_k": "txt_attn.norm.key_norm",
        "attn.to_out.0": "img_attn.proj",
        "attn.to_add_out": "txt_attn.proj",
        "ff.net.0.proj": "img_mlp.0",
        "ff.net.2": "img_mlp.2",
        "ff_context.net.0.proj": "txt_mlp.0",
        "ff_context.net.2": "txt_mlp.2",
    },
    "single_transformer_blocks": {
        "norm.linear": "modulation.lin",
        "attn.norm_q": "norm.query_norm",
        "attn.norm_k": "norm.key_norm",
        "proj_out": "linear2",
    },
}
_FLUX_JOINED: dict[str, dict[str, tuple[str, ...]]] = {
    "transformer_blocks": {
        "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
        "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    },
    "single_transformer_blocks": {"linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")},
}


def flux(state: State) -> State:
    """The transformer of FLUX.1."""
    rest, made = dict(state), {}
    named = {"transformer_blocks": "double_blocks", "single_transformer_blocks": "single_blocks"}
    for side, joined in _FLUX_JOINED.items():
        for block in {int(n.split(".")[1]) for n in state if n.startswith(f"{side}.")}:
            for name, layers in joined.items():
                for kind in ("weight", "bias"):
                    rows = [rest.pop(f"{side}.{block}.{layer}.{kind}") for layer in layers]
                    made[f"{named[side]}.{block}.{name}.{kind}"] = torch.cat(rows)
    for name, value in rest.items():
        stem, _, kind = name.rpartition(".")
        if stem in _FLUX:
            value = halves_turned(value) if stem == "norm_out.linear" else value
            made[f"{_FLUX[stem]}.{kind}"] = value
            continue
        side, number, layer = stem.split(".", 2)
        kind = "scale" if ".norm_" in f".{layer}" else kind
        made[f"{named[side]}.{number}.{_FLUX_BLOCK[side][layer]}.{kind}"] = value
    return made
