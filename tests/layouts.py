"""Real layouts by their configurations, without a single weight."""

import json
from pathlib import Path
from typing import Any

from tests.tiny import save_tokenizer


def save_sd21_layout(folder: Path) -> Path:
    """Stable Diffusion 2.1-base as a pipeline folder that holds no weights."""
    words = save_tokenizer(folder / "tokenizer", length=77)
    unet = {
        "_class_name": "UNet2DConditionModel",
        "sample_size": 64,
        "block_out_channels": [320, 640, 1280, 1280],
        "cross_attention_dim": 1024,
        "attention_head_dim": [5, 10, 20, 20],
        "use_linear_projection": True,
        "in_channels": 4,
        "out_channels": 4,
    }
    vae = {
        "_class_name": "AutoencoderKL",
        "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "latent_channels": 4,
        "sample_size": 768,
    }
    text = {
        "model_type": "clip_text_model",
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_hidden_layers": 23,
        "hidden_act": "gelu",
        "max_position_embeddings": 77,
        "vocab_size": words,
    }
    scheduler = {
        "_class_name": "DDIMScheduler",
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "clip_sample": False,
        "prediction_type": "epsilon",
    }
    index = {"_class_name": "StableDiffusionPipeline", "scheduler": ["diffusers", "DDIMScheduler"]}
    _write(folder / "unet" / "config.json", unet)
    _write(folder / "vae" / "config.json", vae)
    _write(folder / "text_encoder" / "config.json", text)
    _write(folder / "scheduler" / "scheduler_config.json", scheduler)
    _write(folder / "model_index.json", index)
    return folder


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
