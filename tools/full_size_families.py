"""Pipeline folders of SDXL and Stable Diffusion 3.5-medium at their true size, weights random."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from torch import nn

from tools.count_backbones import SIZES
from tools.count_memory import CLIP_L

_CLIP_G = {
    **CLIP_L,
    "hidden_size": 1280,
    "projection_dim": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "hidden_act": "gelu",
}
_BLOCKS = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}
_IMAGE_WIDTH = "128"  # of the mini world's image encoder
_STD = 0.02


@dataclass(frozen=True)
class FamilyLayout:
    """What of a family is written.

    Attributes:
        overlay: Its config.
        pipeline: Diffusers' class.
        denoiser: Its folder.
        size: Its key in `tools.count_backbones`.
        first_text: Transformers' class of the first text encoder.
        vae: Arguments of the autoencoder.
        scheduler: Its class.
        schedule: Its configuration.
    """

    overlay: str
    pipeline: str
    denoiser: str
    size: str
    first_text: str
    vae: Mapping[str, Any]
    scheduler: str
    schedule: Mapping[str, Any]


FAMILIES = {
    "sdxl": FamilyLayout(
        "configs/backbone/sdxl.yaml",
        "StableDiffusionXLPipeline",
        "unet",
        "sdxl",
        "CLIPTextModel",
        {**_BLOCKS, "latent_channels": 4, "scaling_factor": 0.13025},
        "EulerDiscreteScheduler",
        {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    ),
    "sd35_medium": FamilyLayout(
        "configs/backbone/sd35_medium.yaml",
        "StableDiffusion3Pipeline",
        "transformer",
        "sd35_medium",
        "CLIPTextModelWithProjection",
        {
            **_BLOCKS,
            "latent_channels": 16,
            "use_quant_conv": False,
            "use_post_quant_conv": False,
            "scaling_factor": 1.5305,
            "shift_factor": 0.0609,
        },
        "FlowMatchEulerDiscreteScheduler",
        {"shift": 3.0},
    ),
}


def save_family(layout: FamilyLayout, folder: Path, resolution: int, words: Any) -> None:
    """Writes a pipeline folder in bfloat16, a part at a time; T5 is left out.

    Args:
        layout: Which.
        folder: Where.
        resolution: Pixels a side that it draws.
        words: CLIP's tokenizer.
    """
    torch.manual_seed(0)
    size = SIZES[layout.size]
    sized = {**size.config, "sample_size": resolution // 8}
    vae = {**layout.vae, "sample_size": resolution}
    kinds = {
        layout.denoiser: (diffusers, size.kind, sized),
        "text_encoder": (transformers, layout.first_text, CLIP_L),
        "text_encoder_2": (transformers, "CLIPTextModelWithProjection", _CLIP_G),
        "vae": (diffusers, "AutoencoderKL", vae),
    }
    index: dict[str, Any] = {"_class_name": layout.pipeline}
    for part, (library, kind, config) in kinds.items():
        _save_random(getattr(library, kind), config, folder / part)
        index[part] = [library.__name__, kind]
    for part in ("tokenizer", "tokenizer_2"):
        words.save_pretrained(folder / part)
        index[part] = ["transformers", "CLIPTokenizer"]
    scheduler = getattr(diffusers, layout.scheduler)(**layout.schedule)
    scheduler.save_pretrained(folder / "scheduler")
    index["scheduler"] = ["diffusers", layout.scheduler]
    if layout.denoiser == "transformer":
        index |= {"text_encoder_3": [None, None], "tokenizer_3": [None, None]}
    (folder / "model_index.json").write_text(json.dumps(index))


@torch.no_grad()
def _save_random(kind: Any, config: Mapping[str, Any], folder: Path) -> None:
    """Builds a network without float32 weights ever being in memory, and writes it."""
    with torch.device("meta"):
        made = kind(kind.config_class(**config)) if _is_clip(kind) else kind(**config)
    network: nn.Module = made.to(torch.bfloat16).to_empty(device="cpu")
    for name, weight in network.named_parameters():
        if weight.ndim > 1:
            weight.normal_(std=_STD)
        else:
            weight.fill_(1.0 if name.endswith("weight") else 0.0)
    for name, buffer in network.named_buffers():
        if name.endswith("position_ids"):
            buffer.copy_(torch.arange(buffer.shape[-1]).expand_as(buffer))
        else:
            buffer.normal_(std=_STD)
    made.save_pretrained(folder)


def _is_clip(kind: Any) -> bool:
    return bool(kind.__name__.startswith("CLIP"))


def family_options(layout: FamilyLayout, work: Path, resolution: int) -> list[str]:
    """What every command has on a CPU: bfloat16, a batch of 1, two steps of drawings."""
    data, fidelity = "--data.preparation", "--fidelity"
    return [
        *("--config", "configs/base.yaml", "--config", layout.overlay),
        *("--trainer.accelerator", "cpu", "--trainer.accumulate_grad_batches", "1"),
        *("--trainer.val_check_interval", "2", "--trainer.num_sanity_val_steps", "0"),
        *("--model.sampler.init_args.steps", "2"),
        *("--model.backbone.init_args.source", str(work / "pipeline")),
        # The published image twins are as large again, and are in memory while photos are prepared.
        *("--model.conditioning.init_args.image_width", _IMAGE_WIDTH),
        *(f"{data}.image_encoder", "idgen.models.encoders.ImageEncoder"),
        *(f"{data}.image_encoder.init_args.model", "mini"),
        *(f"{data}.image_encoder.init_args.pretrained", "null"),
        *(f"{data}.segmenter", "idgen.prepare.SamSegmenter"),
        *(f"{data}.resolution", str(resolution)),
        *("--data.batch_size", "1"),
        *(f"{fidelity}.clip.init_args.model", "mini"),
        *(f"{fidelity}.clip.init_args.pretrained", "null"),
        *(f"{fidelity}.dino.init_args.model", "mini"),
        *("--data.subject.photos", "mini:robot", "--data.subject.class_noun", "robot"),
        *("--data.subject.prepared", str(work / "prepared")),
        *("--data.validation_prompts", '["a photo of a [V] robot"]'),
        *("--data.test_prompts", '["a photo of a [V] robot"]'),
        *("--data.validation_images", "1", "--data.test_images", "1"),
    ]
