"""What kohya's sd-scripts call the layers of each family, as A1111, Forge and ComfyUI read them."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from idgen.errors import UserError
from idgen.export.updates import LowRankUpdate, text_layer

Updates = Sequence[LowRankUpdate]
Config = Mapping[str, Any]


@dataclass(frozen=True)
class KohyaFamily:
    """How a family's LoRA is kept in kohya's files.

    Attributes:
        denoiser: Its updates under kohya's names, from diffusers' and the denoiser's configuration.
        text: How names of layers begin, by the text encoders' folders.
        network: The module of sd-scripts that trains it.
        version: `ss_base_model_version`.
        architecture: Of ModelSpec, without `/lora`, by the denoiser's configuration and whether it
            predicts v.
    """

    denoiser: Callable[[Updates, Config], Updates]
    text: Mapping[str, str]
    network: str
    version: str
    architecture: Callable[[Config, bool], str]

    def named(self, networks: Mapping[str, Updates], part: str, config: Config) -> Updates:
        """All updates under kohya's names, dots as underscores.

        Args:
            networks: By the networks' folders.
            part: The denoiser's.
            config: Its configuration.

        Raises:
            UserError: If a layer has no name there.
        """
        found = list(self.denoiser(networks.get(part, ()), config))
        for folder, head in self.text.items():
            found += [
                replace(u, layer=f"{head}{text_layer(u.layer)}") for u in networks.get(folder, ())
            ]
        return [replace(u, layer=u.layer.replace(".", "_")) for u in found]


def _as_in_diffusers(updates: Updates, config: Config) -> Updates:
    """Stable Diffusion 1.x and 2.x are trained on diffusers' own U-Net."""
    return [replace(update, layer=f"lora_unet_{update.layer}") for update in updates]


# SDXL is trained on the U-Net of Stability AI's first code, which numbers blocks through.
_OUTER = {
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
_OF_RESNET = {
    "conv1": "in_layers.2",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.+)")
_MIDDLE = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)")


def _through_numbered(updates: Updates, config: Config) -> Updates:
    return [replace(u, layer=f"lora_unet_{numbered(u.layer, config)}") for u in updates]


def numbered(layer: str, config: Config) -> str:
    """A layer of diffusers' U-Net by its name in the U-Net of SDXL's first code.

    Args:
        layer: Such as `down_blocks.1.attentions.0.proj_in`.
        config: The U-Net's: `layers_per_block` and `up_block_types`.

    Raises:
        UserError: If it has none.
    """
    if layer in _OUTER:
        return _OUTER[layer]
    if (found := _MIDDLE.fullmatch(layer)) is not None:
        kind, at, rest = found.groups()
        if kind == "attentions":
            return f"middle_block.{2 * int(at) + 1}.{rest}"
        return f"middle_block.{2 * int(at)}.{_OF_RESNET.get(rest, rest)}"
    if (found := _BLOCK.fullmatch(layer)) is None:
        raise UserError(f"CKPT: kohya's files have no name for {layer}; take --format diffusers")
    side, block, kind, at, rest = found.groups()
    layers = int(config["layers_per_block"])
    if side == "down":
        number = 1 + int(block) * (layers + 1) + int(at)
        if kind == "downsamplers":
            return f"input_blocks.{(int(block) + 1) * (layers + 1)}.0.op"
        head = f"input_blocks.{number}"
    else:
        head = f"output_blocks.{int(block) * (layers + 1) + int(at)}"
        if kind == "upsamplers":
            attends = "CrossAttn" in config["up_block_types"][int(block)]
            return f"output_blocks.{(int(block) + 1) * (layers + 1) - 1}.{1 + attends}.conv"
    if kind == "attentions":
        return f"{head}.1.{rest}"
    return f"{head}.0.{_OF_RESNET.get(rest, rest)}"


# FLUX.1 is trained on Black Forest Labs' first code, where some of diffusers' layers are one.
_DOUBLE = re.compile(r"transformer_blocks\.(\d+)\.(.+)")
_SINGLE = re.compile(r"single_transformer_blocks\.(\d+)\.(.+)")
_IN_DOUBLE = {
    "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj",
    "ff.net.0.proj": "img_mlp.0",
    "ff.net.2": "img_mlp.2",
    "ff_context.net.0.proj": "txt_mlp.0",
    "ff_context.net.2": "txt_mlp.2",
    "norm1.linear": "img_mod.lin",
    "norm1_context.linear": "txt_mod.lin",
}
_IN_SINGLE = {"proj_out": "linear2", "norm.linear": "modulation.lin"}
_JOINED_IN_DOUBLE: Mapping[str, tuple[str, ...]] = {
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
}
_JOINED_IN_SINGLE: Mapping[str, tuple[str, ...]] = {
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
}
_MLP = 4  # times the width


def _joined_layers(updates: Updates, config: Config) -> Updates:
    width = int(config["num_attention_heads"]) * int(config["attention_head_dim"])
    heights = {"proj_mlp": _MLP * width}
    found: list[LowRankUpdate] = []
    groups: dict[str, tuple[tuple[str, ...], dict[str, LowRankUpdate]]] = {}
    for update in updates:
        if (at := _SINGLE.fullmatch(update.layer)) is not None:
            head, alone, joined = "single_blocks", _IN_SINGLE, _JOINED_IN_SINGLE
        elif (at := _DOUBLE.fullmatch(update.layer)) is not None:
            head, alone, joined = "double_blocks", _IN_DOUBLE, _JOINED_IN_DOUBLE
        else:
            raise _unnamed(update.layer)
        number, layer = at.groups()
        if layer in alone:
            found.append(replace(update, layer=f"lora_unet_{head}.{number}.{alone[layer]}"))
            continue
        name = next((name for name, parts in joined.items() if layer in parts), None)
        if name is None:
            raise _unnamed(update.layer)
        group = groups.setdefault(f"lora_unet_{head}.{number}.{name}", (joined[name], {}))
        group[1][layer] = update
    for name, (parts, own) in groups.items():
        found.append(joined_update(name, [(own.get(p), heights.get(p, width)) for p in parts]))
    return found


def _unnamed(layer: str) -> UserError:
    return UserError(f"CKPT: kohya's files have no name for {layer}; take --format diffusers")


def joined_update(name: str, parts: Sequence[tuple[LowRankUpdate | None, int]]) -> LowRankUpdate:
    """Updates of layers that read the same input as one of a layer of all their outputs.

    Each has its own rows of A, as many as the largest rank, and its own block of B: readers that
    take such a file apart find the updates again.

    Args:
        name: Of the joined layer.
        parts: Each layer's update, None where it has none, and how many outputs it has.
    """
    given = [update for update, _ in parts if update is not None]
    rank, first = max(update.rank for update in given), given[0]
    down = first.down.new_zeros(len(parts) * rank, first.down.shape[1])
    up = first.up.new_zeros(sum(height for _, height in parts), len(parts) * rank)
    alike = {(update.rank, update.alpha) for update in given}
    row = 0
    for number, (update, height) in enumerate(parts):
        at = number * rank
        if update is not None:
            scale = 1.0 if len(alike) == 1 else update.alpha / update.rank
            down[at : at + update.rank] = update.down
            up[row : row + height, at : at + update.rank] = update.up * scale
        row += height
    alpha = first.alpha if len(alike) == 1 else float(rank)
    return LowRankUpdate(name, down, up, alpha * len(parts))


_SD2_WIDTH = 1024


def _sd_architecture(config: Config, predicts_v: bool) -> str:
    if config.get("cross_attention_dim") != _SD2_WIDTH:
        return "stable-diffusion-v1"
    return f"stable-diffusion-v2-{'768-v' if predicts_v else '512'}"


def _sdxl_architecture(config: Config, predicts_v: bool) -> str:
    return "stable-diffusion-xl-v1-base"


def _flux_architecture(config: Config, predicts_v: bool) -> str:
    return "flux-1-dev" if config.get("guidance_embeds") else "flux-1-schnell"


KOHYA_FAMILIES: Mapping[str, KohyaFamily] = {
    "StableDiffusionPipeline": KohyaFamily(
        _as_in_diffusers, {"text_encoder": "lora_te_"}, "networks.lora", "sd_v1", _sd_architecture
    ),
    "StableDiffusionXLPipeline": KohyaFamily(
        _through_numbered,
        {"text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"},
        "networks.lora",
        "sdxl_base_v1-0",
        _sdxl_architecture,
    ),
    "FluxPipeline": KohyaFamily(
        _joined_layers,
        {"text_encoder": "lora_te1_"},
        "networks.lora_flux",
        "flux1",
        _flux_architecture,
    ),
}
"""By diffusers' class of the pipeline: those of which kohya's files are written."""
