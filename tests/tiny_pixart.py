"""A PixArt-alpha pipeline folder of 16 x 16 pixels with random weights."""

from pathlib import Path
from typing import Any

import torch


def tiny_t5_tokenizer() -> Any:
    """A tokenizer of a few words, of 12 tokens, that ends prompts as T5's does."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = [
        "<pad>",
        "</s>",
        "<unk>",
        "sks",
        "a",
        "dog",
        "photo",
        "of",
        "on",
        "in",
        "the",
        "beach",
        "snow",
    ]
    raw = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, "<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=12,
    )


def tiny_t5(words: int, width: int = 16, **settings: Any) -> Any:
    """A T5 encoder with random weights."""
    from transformers import T5Config, T5EncoderModel

    sizes = {"d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, **settings}
    return T5EncoderModel(T5Config(vocab_size=words, d_model=width, **sizes))


def save_pixart(folder: Path) -> Path:
    """Writes transformer, T5, tokenizer, autoencoder and scheduler."""
    from diffusers import (
        AutoencoderKL,
        DPMSolverMultistepScheduler,
        PixArtAlphaPipeline,
        PixArtTransformer2DModel,
    )

    tokenizer = tiny_t5_tokenizer()
    torch.manual_seed(0)
    pipeline = PixArtAlphaPipeline(
        tokenizer=tokenizer,
        text_encoder=tiny_t5(len(tokenizer)),
        vae=AutoencoderKL(
            block_out_channels=(16, 16),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            norm_num_groups=8,
            sample_size=16,
        ),
        transformer=PixArtTransformer2DModel(
            sample_size=8,
            num_layers=1,
            patch_size=2,
            attention_head_dim=8,
            num_attention_heads=2,
            in_channels=4,
            out_channels=8,
            cross_attention_dim=16,
            caption_channels=16,
        ),
        scheduler=DPMSolverMultistepScheduler(prediction_type="epsilon"),
    )
    pipeline.save_pretrained(folder)
    return folder
