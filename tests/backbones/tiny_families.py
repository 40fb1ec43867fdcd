"""Tiny pipeline folders of each family, made by diffusers' own classes, with random weights."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import idgen.backbones
from idgen.backbones.pipeline import PipelineBackbone
from tests.tiny import WORDS, save_tokenizer
from tests.tiny_pixart import tiny_t5, tiny_t5_tokenizer

SIDE = 16
"""Of pictures; latents are half of it."""


@dataclass(frozen=True, eq=False)
class Family:
    """A family, as tests of all families see it.

    Attributes:
        name: Of its overlay in configs/backbone.
        backbone: The backbone's class in `idgen.backbones`.
        save: Writes a tiny pipeline folder.
        settings: Arguments of the backbone.
        tuning: Arguments of LoraTuning.
        conditioning: Arguments of DecoupledFusion.
        guidance: How strongly tests draw.
        learning: Arguments of `save` for a denoiser that learns a picture within seconds.
        steps: That it needs for that.
    """

    name: str
    backbone: str
    save: Callable[..., Path]
    settings: dict[str, Any] = field(default_factory=dict)
    tuning: dict[str, Any] = field(default_factory=dict)
    conditioning: dict[str, Any] = field(default_factory=dict)
    guidance: float = 4.0
    learning: dict[str, Any] = field(default_factory=dict)
    steps: int = 200

    def open(self, folder: Path, **settings: Any) -> PipelineBackbone:
        """The backbone of a folder that `save` wrote."""
        kind = getattr(idgen.backbones, self.backbone)
        made: PipelineBackbone = kind(str(folder), **{**self.settings, **settings})
        return made


def tiny_vae(channels: int = 4, **settings: Any) -> Any:
    """An autoencoder that halves pictures."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(16, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=channels,
        norm_num_groups=8,
        sample_size=SIDE,
        **{"scaling_factor": 0.5, **settings},
    )


def tiny_clip(words: int, width: int = 16, projected: bool = True, **settings: Any) -> Any:
    """A CLIP text encoder, whose projection is as wide as its states."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    made = CLIPTextModelWithProjection if projected else CLIPTextModel
    config = {
        "vocab_size": words,
        "hidden_size": width,
        "projection_dim": width,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 32,
        "bos_token_id": words - 2,
        "eos_token_id": words - 1,
    }
    return made(CLIPTextConfig(**{**config, **settings}))


def save_sdxl(folder: Path, **changed: Any) -> Path:
    """Writes a Stable Diffusion XL pipeline folder."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTokenizer

    torch.manual_seed(0)
    words = save_tokenizer(folder / "tokenizer")
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    unet = UNet2DConditionModel(
        sample_size=SIDE // 2,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=8,
        norm_num_groups=8,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=20 + 6 * 8,
    )
    pipeline = StableDiffusionXLPipeline(
        vae=tiny_vae(),
        text_encoder=tiny_clip(words, 12, projected=False),
        text_encoder_2=tiny_clip(words, 20, hidden_act="gelu"),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=EulerDiscreteScheduler(
            beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, **changed
        ),
    )
    pipeline.save_pretrained(folder)
    return folder


def save_sd3(
    folder: Path, wide: bool = False, widths: tuple[int, int] | None = None, **changed: Any
) -> Path:
    """Writes a Stable Diffusion 3.5-medium pipeline folder: blocks with a second attention.

    Args:
        folder: Where.
        wide: Whether inputs and outputs of all layers are multiples of 32, and 64 or more inputs.
        widths: Of the CLIP encoders, 32 together.
        changed: Of the scheduler.
    """
    from diffusers import (
        FlowMatchEulerDiscreteScheduler,
        SD3Transformer2DModel,
        StableDiffusion3Pipeline,
    )
    from transformers import CLIPTokenizer

    torch.manual_seed(0)
    clip, t5, channels = (32, 64, 8) if wide else (16, 48, 4)
    of_t5 = {"d_kv": 32, "d_ff": 64} if wide else {}
    first, second = widths or (clip, clip)
    words = save_tokenizer(folder / "tokenizer")
    tokenizer, long = CLIPTokenizer.from_pretrained(folder / "tokenizer"), tiny_t5_tokenizer()
    transformer = SD3Transformer2DModel(
        sample_size=SIDE // 2,
        patch_size=2,
        in_channels=channels,
        out_channels=channels,
        num_layers=2,
        attention_head_dim=32,
        num_attention_heads=2,
        joint_attention_dim=t5,
        caption_projection_dim=64,
        pooled_projection_dim=2 * clip,
        pos_embed_max_size=8,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    pipeline = StableDiffusion3Pipeline(
        vae=tiny_vae(channels, shift_factor=0.25),
        text_encoder=tiny_clip(words, first),
        text_encoder_2=tiny_clip(words, second, hidden_act="gelu"),
        text_encoder_3=tiny_t5(len(long), t5, **of_t5),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        tokenizer_3=long,
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(**{"shift": 3.0, **changed}),
    )
    pipeline.save_pretrained(folder)
    return folder


def save_flux(folder: Path, guided: bool = True, **changed: Any) -> Path:
    """Writes a FLUX.1 pipeline folder; -dev is guided, and its times are shifted by size."""
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
    from transformers import CLIPTokenizer

    torch.manual_seed(0)
    words = save_tokenizer(folder / "tokenizer")
    long = tiny_t5_tokenizer()
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=32,
        num_attention_heads=2,
        joint_attention_dim=48,
        pooled_projection_dim=16,
        guidance_embeds=guided,
        axes_dims_rope=(8, 12, 12),
    )
    shifting = {"shift": 3.0, "use_dynamic_shifting": True} if guided else {"shift": 1.0}
    pipeline = FluxPipeline(
        vae=tiny_vae(shift_factor=0.25),
        text_encoder=tiny_clip(words, projected=False),
        text_encoder_2=tiny_t5(len(long), 48),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        tokenizer_2=long,
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(**{**shifting, **changed}),
    )
    pipeline.save_pretrained(folder)
    return folder


def chat_tokenizer() -> Any:
    """A byte-level tokenizer, as language models have, that frames prompts as messages.

    It knows a few words with a space before them, and spells others, such as `sks`, by letters.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges: list[tuple[str, str]] = []
    for word in ("user", "assistant", *(f"Ġ{word}" for word in WORDS if word != "sks")):
        left = word[0]
        for letter in word[1:]:
            if (left, letter) not in merges:
                merges.append((left, letter))
            left += letter
    tokens = [*letters, *dict.fromkeys("".join(pair) for pair in merges)]
    raw = Tokenizer(models.BPE({token: at for at, token in enumerate(tokens)}, merges))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<|pad|>", eos_token="<|end|>", model_max_length=1000
    )
    tokenizer.chat_template = (
        "{% for message in messages %}{{ message.role }}\n{{ message.content }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}assistant{% endif %}"
    )
    return tokenizer


def save_z_image(folder: Path, **changed: Any) -> Path:
    """Writes a Z-Image pipeline folder."""
    from diffusers import (
        FlowMatchEulerDiscreteScheduler,
        ZImagePipeline,
        ZImageTransformer2DModel,
    )
    from transformers import Qwen3Config, Qwen3Model

    torch.manual_seed(0)
    tokenizer = chat_tokenizer()
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=64,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=64,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[8, 12, 12],
        axes_lens=[128, 32, 32],
    )
    # Left without a value by the model itself.
    with torch.no_grad():
        for token in (transformer.x_pad_token, transformer.cap_pad_token):
            token.normal_(std=0.02)
    pipeline = ZImagePipeline(
        vae=tiny_vae(shift_factor=0.25),
        text_encoder=Qwen3Model(config),
        tokenizer=tokenizer,
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(**{"shift": 3.0, **changed}),
    )
    pipeline.save_pretrained(folder)
    return folder


FAMILIES = [
    Family(
        "sdxl",
        "SDXLBackbone",
        save_sdxl,
        # A small error of the noise is a large one of the picture where there is little of it.
        learning={"prediction_type": "v_prediction"},
    ),
    Family(
        "sd35_medium",
        "StableDiffusion3Backbone",
        save_sd3,
        settings={"t5_tokens": 12},
        tuning={"text_encoders": [0, 1]},
        conditioning={"image_width": 32, "low_rank": 4},
    ),
    Family(
        "flux1_dev",
        "FluxBackbone",
        save_flux,
        settings={"t5_tokens": 12, "resolution": SIDE},
        tuning={"text_encoders": [0]},
        conditioning={"image_width": 32, "low_rank": 4},
        guidance=3.5,
        steps=120,
    ),
    Family(
        "z_image",
        "ZImageBackbone",
        save_z_image,
        settings={"text_tokens": 40, "resolution": SIDE},
        # Diffusers' pipeline loads no LoRA of the language model.
        tuning={"text_rank": 0},
        conditioning={"image_width": 32, "low_rank": 4},
        steps=120,
    ),
]
"""All families beside Stable Diffusion 1.x and 2.x, which the rest of the suite is about."""
