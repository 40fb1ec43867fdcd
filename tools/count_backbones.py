"""Counts what the method trains on full-size backbones, by the overlays in configs/backbone.

No weights are needed: networks are built on the meta device, from the sizes that the models were
published with. `python -m tools.count_backbones` prints the table of docs/backbones.md.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import diffusers
import torch
import yaml
from torch import nn

from idgen.backbones import FeatureSpace
from idgen.models.conditioning import DecoupledFusion
from idgen.models.tuning import LoraTuning

OVERLAYS = Path(__file__).parents[1] / "configs" / "backbone"
_UNET = {"sample_size": 128, "in_channels": 4, "out_channels": 4, "layers_per_block": 2}


class Size(NamedTuple):
    """A denoiser as it was published.

    Attributes:
        kind: Its class in diffusers.
        config: Its configuration.
        width: D.
        image_width: Of the image twin; None where there is none.
    """

    kind: str
    config: Mapping[str, Any]
    width: int
    image_width: int | None


SIZES = {
    "sdxl": Size(
        "UNet2DConditionModel",
        {
            **_UNET,
            "block_out_channels": (320, 640, 1280),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 2, 10),
            "attention_head_dim": (5, 10, 20),
            "cross_attention_dim": 2048,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        2048,
        2048,
    ),
    "sd35_medium": Size(
        "SD3Transformer2DModel",
        {
            "sample_size": 128,
            "patch_size": 2,
            "in_channels": 16,
            "out_channels": 16,
            "num_layers": 24,
            "attention_head_dim": 64,
            "num_attention_heads": 24,
            "joint_attention_dim": 4096,
            "caption_projection_dim": 1536,
            "pooled_projection_dim": 2048,
            "pos_embed_max_size": 384,
            "dual_attention_layers": tuple(range(13)),
            "qk_norm": "rms_norm",
        },
        4096,
        None,
    ),
    "flux1_dev": Size(
        "FluxTransformer2DModel",
        {
            "in_channels": 64,
            "num_layers": 19,
            "num_single_layers": 38,
            "attention_head_dim": 128,
            "num_attention_heads": 24,
            "joint_attention_dim": 4096,
            "pooled_projection_dim": 768,
            "guidance_embeds": True,
        },
        4096,
        None,
    ),
    # The defaults of diffusers' class are the published ones.
    "z_image": Size("ZImageTransformer2DModel", {}, 2560, None),
}


def count(network: nn.Module, trained: bool = False) -> int:
    """The parameters of a network, or those of them that are trained."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad or not trained)


def counted(name: str) -> tuple[int, int, int]:
    """The parameters of a denoiser, of its LoRA and of the conditioning, by an overlay's name."""
    model = yaml.safe_load((OVERLAYS / f"{name}.yaml").read_text(encoding="utf-8"))["model"]
    size = SIZES[name]
    with torch.device("meta"):
        denoiser: nn.Module = getattr(diffusers, size.kind)(**size.config).requires_grad_(False)
        whole = count(denoiser)
        tuning = LoraTuning(**model["tuning"]["init_args"])
        tuning.inject(denoiser, tuning.rank, tuning.targets, "LoraTuning.targets")
        space = FeatureSpace(size.width, size.image_width)
        conditioning = DecoupledFusion(space, **model["conditioning"]["init_args"])
    return whole, count(denoiser, trained=True), count(conditioning)


def main() -> None:
    """Prints the table, in Markdown."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    print("| overlay | denoiser | LoRA | adapter, experts, projection | trained | checkpoint |")
    print("|---|---|---|---|---|---|")
    for name in SIZES:
        whole, lora, conditioning = counted(name)
        trained = lora + conditioning
        # Weights in float32, and AdamW's two moments of each.
        megabytes = trained * 4 * 3 / 1e6
        share = 100 * trained / whole
        numbers = " | ".join(f"{n:,}" for n in (whole, lora, conditioning))
        print(f"| `{name}` | {numbers} | {share:.2f} % | {megabytes:.0f} MB |")


if __name__ == "__main__":
    main()
