"""Stable Diffusion 1.5, 2.1 and XL at their true size, with random weights or with none."""

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

_VOCABULARY = 49408
_CONTEXT = 77
_CROSS, _PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"
_UP_CROSS, _UP = "CrossAttnUpBlock2D", "UpBlock2D"


@dataclass(frozen=True)
class Layout:
    """What tells the families apart.

    Attributes:
        overlay: Its config.
        pipeline: Its class in diffusers.
        side: Of its latents.
        scaling: Of its latents.
        unet: Arguments of its U-Net.
        texts: Arguments of each of its text encoders.
        image_encoders: open_clip's names of the text encoders' image twins.
    """

    overlay: str
    pipeline: str
    side: int
    scaling: float
    unet: dict[str, Any]
    texts: tuple[dict[str, Any], ...]
    image_encoders: tuple[str, ...]


_VIT_L = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "hidden_act": "quick_gelu",
}
LAYOUTS = {
    "sd21": Layout(
        overlay="configs/backbone/sd21.yaml",
        pipeline="StableDiffusionPipeline",
        side=64,
        scaling=0.18215,
        unet={
            "cross_attention_dim": 1024,
            "attention_head_dim": (5, 10, 20, 20),
            "use_linear_projection": True,
        },
        texts=(
            {
                "hidden_size": 1024,
                "intermediate_size": 4096,
                "num_hidden_layers": 23,
                "num_attention_heads": 16,
                "hidden_act": "gelu",
            },
        ),
        image_encoders=("ViT-H-14",),
    ),
    "sd15": Layout(
        overlay="configs/backbone/sd15.yaml",
        pipeline="StableDiffusionPipeline",
        side=64,
        scaling=0.18215,
        unet={"cross_attention_dim": 768, "attention_head_dim": 8},
        texts=(_VIT_L,),
        image_encoders=("ViT-L-14",),
    ),
    "sdxl": Layout(
        overlay="configs/backbone/sdxl.yaml",
        pipeline="StableDiffusionXLPipeline",
        side=128,
        scaling=0.13025,
        unet={
            "block_out_channels": (320, 640, 1280),
            "down_block_types": (_PLAIN, _CROSS, _CROSS),
            "up_block_types": (_UP_CROSS, _UP_CROSS, _UP),
            "transformer_layers_per_block": (1, 2, 10),
            "attention_head_dim": (5, 10, 20),
            "cross_attention_dim": 2048,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        texts=(
            _VIT_L,
            {
                "hidden_size": 1280,
                "intermediate_size": 5120,
                "num_hidden_layers": 32,
                "num_attention_heads": 20,
                "hidden_act": "gelu",
                "projection_dim": 1280,
            },
        ),
        image_encoders=("ViT-L-14", "ViT-bigG-14"),
    ),
}


def tokenizer() -> CLIPTokenizer:
    """CLIP's own tokenizer, from the merges that open_clip ships."""
    source = Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
    lines = gzip.decompress(source.read_bytes()).decode().split("\n")
    merges = [tuple(line.split()) for line in lines[1 : _VOCABULARY - 256 - 2 - 256 + 1]]
    letters = list(open_clip.tokenizer.bytes_to_unicode().values())
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(m) for m in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: index for index, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=_CONTEXT)


def save_pipeline(layout: Layout, folder: Path, prediction_type: str, weights: bool = True) -> Path:
    """Writes a pipeline folder.

    Args:
        layout: Whose.
        folder: Where.
        prediction_type: What the U-Net predicts.
        weights: Whether there are random weights, in half precision, or configurations alone.
    """
    torch.manual_seed(0)
    with torch.device("cpu" if weights else "meta"):
        parts = _parts(layout)
    pipeline = _assembled(layout, parts, prediction_type)
    if weights:
        pipeline.to(torch.float16).save_pretrained(folder)
        return folder
    for name, part in pipeline.components.items():
        if part is None:
            continue
        if name.startswith(("unet", "vae")):
            part.save_config(folder / name)
        elif name.startswith("text_encoder"):
            part.config.save_pretrained(folder / name)
        else:
            part.save_pretrained(folder / name)
    pipeline.save_config(folder)
    return folder


def _parts(layout: Layout) -> dict[str, Any]:
    from diffusers import AutoencoderKL, UNet2DConditionModel

    made: dict[str, Any] = {
        "unet": UNet2DConditionModel(sample_size=layout.side, **layout.unet),
        "vae": AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            sample_size=8 * layout.side,
            scaling_factor=layout.scaling,
        ),
    }
    for number, text in enumerate(layout.texts):
        config = CLIPTextConfig(
            vocab_size=_VOCABULARY,
            max_position_embeddings=_CONTEXT,
            bos_token_id=_VOCABULARY - 2,
            eos_token_id=_VOCABULARY - 1,
            **text,
        )
        kind = CLIPTextModelWithProjection if number else CLIPTextModel
        made["text_encoder_2" if number else "text_encoder"] = kind(config)
        made["tokenizer_2" if number else "tokenizer"] = tokenizer()
    return made


def _assembled(layout: Layout, parts: dict[str, Any], prediction_type: str) -> Any:
    import diffusers

    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    more = {"steps_offset": 1, "prediction_type": prediction_type}
    if len(layout.texts) == 1:
        parts["scheduler"] = diffusers.PNDMScheduler(skip_prk_steps=True, **betas, **more)
        parts |= {
            "safety_checker": None,
            "feature_extractor": None,
            "requires_safety_checker": False,
        }
    else:
        parts["scheduler"] = diffusers.EulerDiscreteScheduler(**betas, **more)
    return getattr(diffusers, layout.pipeline)(**parts)
