"""Kohya's names against the rules that sd-scripts and ComfyUI publish, and what tools show."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open

from idgen.export.kohya_format import KohyaFormat
from idgen.export.updates import LowRankUpdate, full_rank, of_one_alpha
from tests.backbones.tiny_families import save_flux
from tools.exports import CONFIGS, make_run
from tools.small_layouts import LAYOUTS, save_layout

# Of sd-scripts' networks/lora.py and ComfyUI's comfy/lora.py and comfy/utils.py: a layer of
# diffusers' U-Net of SD 1.x or 2.x, four levels of two layers (three on the way up), is named by
# its path with underscores; one of the text encoder, of SD 1.x as of SD 2.x, by transformers'.
LEVELS, LAYERS, ATTENDING_DOWN, ATTENDING_UP = 4, 2, (0, 1, 2), (1, 2, 3)
PROJECTIONS = [f"{a}_to_{p}" for a in ("attn1", "attn2") for p in ("q", "k", "v", "out_0")]
ATTENTION_PLACES = [
    *(f"down_blocks_{b}_attentions_{n}" for b in ATTENDING_DOWN for n in range(LAYERS)),
    "mid_block_attentions_0",
    *(f"up_blocks_{b}_attentions_{n}" for b in ATTENDING_UP for n in range(LAYERS + 1)),
]
RESNET_PLACES = [
    *(f"down_blocks_{b}_resnets_{n}" for b in range(LEVELS) for n in range(LAYERS)),
    *(f"mid_block_resnets_{n}" for n in (0, 1)),
    *(f"up_blocks_{b}_resnets_{n}" for b in range(LEVELS) for n in range(LAYERS + 1)),
]
UNET_NAMES = {
    *(f"lora_unet_{p}_transformer_blocks_0_{q}" for p in ATTENTION_PLACES for q in PROJECTIONS),
    *(f"lora_unet_{place}_{conv}" for place in RESNET_PLACES for conv in ("conv1", "conv2")),
}
PARTS = (".lora_down.weight", ".lora_up.weight", ".alpha")


def text_names(layers: int) -> set[str]:
    return {
        f"lora_te_text_model_encoder_layers_{n}_self_attn_{p}_proj"
        for n in range(layers)
        for p in ("q", "k", "v", "out")
    }


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_names_and_metadata_are_those_of_the_tools(layout: str, tmp_path: Path) -> None:
    source = save_layout(tmp_path / "base", layout)
    run = make_run(CONFIGS / "method" / "lora.yaml", str(source))
    (tmp_path / "kohya").mkdir()
    made = KohyaFormat().write(run, tmp_path / "kohya", torch.float16)
    assert made.lora == tmp_path / "kohya" / "sks_dog.safetensors"
    with safe_open(made.lora, "pt") as file:
        keys, said = list(file.keys()), file.metadata()
        shapes = {key: tuple(file.get_slice(key).get_shape()) for key in keys}
    layers = LAYOUTS[layout]["text"]["num_hidden_layers"]
    names = UNET_NAMES | text_names(layers)
    assert set(keys) == {f"{name}{part}" for name in names for part in PARTS}
    conv = "lora_unet_down_blocks_0_resnets_0_conv1"
    assert shapes[f"{conv}.lora_down.weight"] == (8, 16, 3, 3)
    assert shapes[f"{conv}.lora_up.weight"] == (16, 8, 1, 1)
    assert shapes[f"{conv}.alpha"] == ()
    # The mini width is neither family's; what is not 1024 wide is SD 1.x.
    assert said["ss_base_model_version"] == "sd_v1"
    assert said["ss_network_module"] == "networks.lora"
    assert said["ss_network_dim"] == "Dynamic"  # 8 in the U-Net, 4 in the text encoder
    assert said["ss_resolution"] == "(16, 16)"
    assert said["ss_enable_bucket"] == "False"
    assert "ss_bucket_info" not in said
    assert said["ss_steps"] == "2"
    assert json.loads(said["ss_tag_frequency"]) == {"sks_dog": {"sks dog": 1}}
    assert "a photo of a sks dog" in said["ss_training_comment"]
    assert said["modelspec.architecture"] == "stable-diffusion-v1/lora"
    assert said["modelspec.trigger_phrase"] == "sks dog"
    assert said["modelspec.prediction_type"] == "epsilon"
    assert re.fullmatch("0x[0-9a-f]{64}", said["modelspec.hash_sha256"])


def metadata_of(method: Path, source: str, folder: Path, **settings: Any) -> dict[str, str]:
    run = make_run(method, source, **settings)
    made = KohyaFormat().write(run, folder, torch.float16)
    with safe_open(made.lora, "pt") as file:
        said: dict[str, str] = file.metadata()
    return said


def test_metadata_says_the_size_and_the_buckets_of_what_was_trained_on(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, size in (("a", (60, 60)), ("b", (61, 60)), ("c", (90, 60)), ("d", (60, 90))):
        Image.new("RGB", size, "red").save(photos / f"{name}.png")
    given = {"data.subject.photos": str(photos), "data.preparation.resolution": 32}
    buckets = {f"data.preparation.buckets.{k}": v for k, v in (("max_aspect", 1.7), ("step", 8))}
    lora = CONFIGS / "method" / "lora.yaml"
    said = metadata_of(lora, "mini", tmp_path, **given)
    assert said["ss_resolution"] == "(32, 32)"
    assert said["modelspec.resolution"] == "32x32"
    assert said["ss_enable_bucket"] == "False"
    (tmp_path / "buckets").mkdir()
    said = metadata_of(lora, "mini", tmp_path / "buckets", **given, **buckets)
    assert said["ss_enable_bucket"] == "True"
    assert said["ss_bucket_no_upscale"] == "False"
    info = json.loads(said["ss_bucket_info"])
    found = {tuple(b["resolution"]): b["count"] for b in info["buckets"].values()}
    assert found == {(32, 32): 2, (40, 24): 1, (24, 40): 1}
    assert int(said["ss_min_bucket_reso"]) == 24
    assert int(said["ss_max_bucket_reso"]) == 40
    # Of sd-scripts' train_util.py: width by height of a bucket, and how far photos are from it.
    far = [
        abs(w / h - aspect)
        for (w, h), aspect in zip(
            [(32, 32), (32, 32), (40, 24), (24, 40)], [1, 61 / 60, 1.5, 1 / 1.5], strict=True
        )
    ]
    assert info["mean_img_ar_error"] == pytest.approx(sum(far) / 4)
    for path in photos.iterdir():
        path.unlink()
    (tmp_path / "gone").mkdir()
    said = metadata_of(lora, "mini", tmp_path / "gone", **given, **buckets)
    assert said["ss_enable_bucket"] == "True"
    assert "ss_bucket_info" not in said


@pytest.mark.parametrize(("guided", "name"), [(True, "flux-1-dev"), (False, "flux-1-schnell")])
def test_flux_is_dev_where_guidance_is_embedded_else_schnell(
    guided: bool, name: str, tmp_path: Path
) -> None:
    source, arguments = save_flux(tmp_path / "flux", guided), "model.backbone.init_args"
    overlay = CONFIGS / "backbone" / "flux1_dev.yaml"
    given = {f"{arguments}.resolution": 16, f"{arguments}.dtype": "float32"}
    given["model.conditioning.init_args.low_rank"] = 4
    said = metadata_of(overlay, str(source), tmp_path, **given)
    assert said["modelspec.architecture"] == f"{name}/lora"
    assert said["ss_base_model_version"] == "flux1"
    assert said["ss_network_module"] == "networks.lora_flux"
    assert said["ss_resolution"] == "(16, 16)"


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 3, 3, 3)])
def test_any_change_is_lora_of_full_rank(shape: tuple[int, ...]) -> None:
    delta = torch.randn(shape)
    update = full_rank("layer", delta)
    torch.testing.assert_close(update.delta(), delta)
    assert update.alpha == 1
    assert update.rank == (shape[0] if len(shape) == 4 else min(shape))


def test_what_lora_adds_is_what_the_layer_adds() -> None:
    down, up = torch.randn(2, 3, 3, 3), torch.randn(5, 2, 1, 1)
    x = torch.randn(1, 3, 7, 7)
    added = torch.conv2d(torch.conv2d(x, down, padding=1), up) * 1.5
    delta = LowRankUpdate("conv", down, up, alpha=3.0).delta()
    torch.testing.assert_close(torch.conv2d(x, delta, padding=1), added, atol=1e-4, rtol=1e-4)


def test_updates_of_one_network_share_an_alpha_and_add_what_they_did() -> None:
    def update(alpha: float, rank: int) -> LowRankUpdate:
        return LowRankUpdate("layer", torch.randn(rank, 3), torch.randn(4, rank), alpha)

    alike = [update(2.0, 2), update(2.0, 3)]
    assert list(of_one_alpha(alike)) == alike
    different = [update(2.0, 2), update(1.5, 3)]
    for before, after in zip(different, of_one_alpha(different), strict=True):
        assert after.alpha == 1
        torch.testing.assert_close(after.delta(), before.delta())
