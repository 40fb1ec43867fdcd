"""Stable Diffusion 1.5 and 2.1 as they are built, with few channels and random weights."""

from pathlib import Path
from typing import Any

import torch

from tests.tiny import save_tokenizer

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
    """Writes a pipeline folder: four levels, two layers each, the classes and names of the real."""
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    layout = LAYOUTS[name]
    torch.manual_seed(0)
    words = save_tokenizer(folder / "tokenizer")
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
            vocab_size=words,
            hidden_size=WIDTH,
            intermediate_size=32,
            num_attention_heads=2,
            max_position_embeddings=32,
            **layout["text"],
        )
    )
    scheduler = getattr(diffusers, layout["scheduler"])(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, steps_offset=1
    )
    diffusers.StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder
