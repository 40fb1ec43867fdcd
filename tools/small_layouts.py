"""Stable Diffusion 1.5 and 2.1 as they are built, with few channels and random weights.

Names, classes and vocabulary are those of the real ones; `tools/full_layouts.py` has their widths.
"""

from pathlib import Path
from typing import Any

import torch

from tools.full_layouts import tokenizer

WIDTH = 32
LAYOUTS: dict[str, dict[str, Any]] = {
    "sd15": {
        "unet": {"attention_head_dim": 8},
        "text": {"hidden_act": "quick_gelu", "num_hidden_layers": 2},
        "scheduler": "PNDMScheduler",
    },
    "sd21": {
        "unet": {"attention_head_dim": (1, 2, 2, 2), "use_linear_projection": True},
        "text": {"hidden_act": "gelu", "num_hidden_layers": 3},
        "scheduler": "DDIMScheduler",
    },
}


def save_layout(folder: Path, name: str) -> Path:
    """Writes a pipeline folder for pictures of 16 pixels: four levels of two layers each.

    Args:
        folder: Where.
        name: `sd15` or `sd21`.
    """
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel

    layout = LAYOUTS[name]
    torch.manual_seed(0)
    words = tokenizer()
    cross, plain = "CrossAttnDownBlock2D", "DownBlock2D"
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 16, 32, 32),
        down_block_types=(cross, cross, cross, plain),
        up_block_types=("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
        layers_per_block=2,
        cross_attention_dim=WIDTH,
        norm_num_groups=8,
        **layout["unet"],
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=(16, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=16,
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(words),
            eos_token_id=words.eos_token_id,
            hidden_size=WIDTH,
            intermediate_size=32,
            num_attention_heads=2,
            max_position_embeddings=words.model_max_length,
            **layout["text"],
        )
    )
    scheduler = getattr(diffusers, layout["scheduler"])(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, steps_offset=1
    )
    diffusers.StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=words,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder
