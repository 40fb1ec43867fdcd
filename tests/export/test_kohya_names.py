"""Kohya's names of SDXL and FLUX.1 against diffusers' own readers of such files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from torch import nn

from idgen.errors import UserError
from idgen.export.kohya_format import kohya_state
from idgen.export.kohya_names import KOHYA_FAMILIES, joined_update
from idgen.export.updates import LowRankUpdate
from tests.backbones.original_names import unet as unet_under_first_names

FLUX = {"num_attention_heads": 24, "attention_head_dim": 128}
WIDTH = 3072  # of FLUX.1: diffusers' reader knows no other


def random_update(layer: str, rank: int, outputs: int, alpha: float, inputs: int = 5) -> Any:
    return LowRankUpdate(layer, torch.randn(rank, inputs), torch.randn(outputs, rank), alpha)


def small_unet() -> UNet2DConditionModel:
    """SDXL's three levels of two layers, with few channels."""
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 8, 16),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 3),
        attention_head_dim=4,
        cross_attention_dim=16,
        norm_num_groups=4,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=16 + 6 * 8,
    )


def test_each_layer_of_sdxl_has_its_name_in_the_models_first_code() -> None:
    """By the same names that its weights have in one file."""
    unet = small_unet()
    layers = [
        name for name, layer in unet.named_modules() if isinstance(layer, (nn.Linear, nn.Conv2d))
    ]
    weights = {f"{layer}.weight": torch.tensor(number) for number, layer in enumerate(layers)}
    expected = {int(v): name for name, v in unet_under_first_names(weights, layers=2).items()}
    updates = [random_update(layer, 2, 5, 1.0) for layer in layers]
    named = KOHYA_FAMILIES["StableDiffusionXLPipeline"].named(
        {"unet": updates}, "unet", unet.config
    )
    assert len(named) == len(layers) > 100
    for number, update in enumerate(named):
        name = expected[number].removesuffix(".weight").replace(".", "_")
        assert update.layer == f"lora_unet_{name}"


def test_diffusers_reads_sdxls_layers_back(tmp_path: Path) -> None:
    unet = small_unet()
    targets = ("to_q", "to_out.0", "proj_in", "conv1", "conv2", "ff.net.2")
    layers = [name for name, _ in unet.named_modules() if name.endswith(targets)]
    updates = [random_update(layer, 2, 5, 1.5) for layer in layers]
    text = [random_update("text_model.encoder.layers.0.self_attn.q_proj", 2, 5, 1.5)]
    family = KOHYA_FAMILIES["StableDiffusionXLPipeline"]
    networks = {"unet": updates, "text_encoder": text, "text_encoder_2": text}
    state = kohya_state(family.named(networks, "unet", unet.config), torch.float32)
    read, alphas = StableDiffusionXLPipeline.lora_state_dict(state, unet_config=unet.config)
    downs = {plain(name): value for name, value in read.items() if "down.weight" in name}
    assert set(downs) == {
        *(f"unet.{plain(layer)}" for layer in layers),
        *(f"{part}.{plain(text[0].layer)}" for part in ("text_encoder", "text_encoder_2")),
    }
    for update in updates:
        assert torch.equal(downs[f"unet.{plain(update.layer)}"], update.down)
    assert set(alphas.values()) == {1.5}
    assert len(alphas) == len(updates) + 2


def plain(name: str) -> str:
    """A layer's name, whatever a reader adds to it."""
    for added in (".lora_linear_layer.down.weight", "_lora.down.weight", ".lora.down.weight"):
        name = name.removesuffix(added)
    name = name.replace(".processor", "").removesuffix(".0").replace("to_q", "q_proj")
    return name.replace("to_out", "out_proj") if "text" in name else name


def flux_state(updates: list[LowRankUpdate]) -> Mapping[str, torch.Tensor]:
    named = KOHYA_FAMILIES["FluxPipeline"].named({"transformer": updates}, "transformer", FLUX)
    read = FluxPipeline.lora_state_dict(kohya_state(named, torch.float32))
    state: Mapping[str, torch.Tensor] = read[0] if isinstance(read, tuple) else read
    return state


@pytest.mark.parametrize("ranks", [(2, 2, 2), (2, 3, 1)])
def test_diffusers_takes_fluxs_joined_layers_apart(ranks: tuple[int, int, int]) -> None:
    """What is added to each weight is the same: alphas go into the factors."""
    updates = [random_update("transformer_blocks.3.attn.to_out.0", 2, 6, 3.0)]
    for head, names in (
        ("transformer_blocks.3", ("attn.to_q", "attn.to_k", "attn.to_v")),
        ("transformer_blocks.18", ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")),
        ("single_transformer_blocks.37", ("attn.to_q", "attn.to_k", "attn.to_v")),
    ):
        for name, rank in zip(names, ranks, strict=True):
            updates.append(random_update(f"{head}.{name}", rank, WIDTH, 3.0))
    state = flux_state(updates)
    for update in updates:
        down, up = (state[f"transformer.{update.layer}.lora_{at}.weight"] for at in "AB")
        torch.testing.assert_close(up @ down, update.delta())
    silent = "transformer.single_transformer_blocks.37.proj_mlp"
    assert not (state[f"{silent}.lora_B.weight"] @ state[f"{silent}.lora_A.weight"]).any()
    assert len(state) == 2 * (len(updates) + 1)


def test_a_joined_update_adds_what_its_parts_add_and_nothing_else() -> None:
    parts = [(random_update("a", 2, 4, 1.0), 4), (None, 3), (random_update("c", 1, 2, 5.0), 2)]
    delta = joined_update("joined", parts).delta()
    torch.testing.assert_close(delta[:4], parts[0][0].delta())
    assert not delta[4:7].any()
    torch.testing.assert_close(delta[7:], parts[2][0].delta())


@pytest.mark.parametrize(
    ("pipeline", "layer"),
    [("FluxPipeline", "proj_out"), ("StableDiffusionXLPipeline", "encoder_hid_proj.0")],
)
def test_layers_without_a_name_are_refused(pipeline: str, layer: str) -> None:
    config = {**FLUX, "layers_per_block": 2}
    with pytest.raises(UserError, match=f"no name for {layer}; take --format diffusers"):
        KOHYA_FAMILIES[pipeline].named({"part": [random_update(layer, 1, 2, 1.0)]}, "part", config)
