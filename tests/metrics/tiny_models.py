"""Random models of the encoders' classes, a few kilobytes each, in their own formats."""

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, ViTConfig, ViTModel

WORDS = ["<pad>", "<start>", "<end>", "<unk>", "a", "dog", "teapot", "on", "the", "beach", "moon"]
CONTEXT = 12
CLIP_WIDTH = 16
CLIP_CONFIG: dict[str, Any] = {
    "embed_dim": CLIP_WIDTH,
    "vision_cfg": {
        "image_size": 32,
        "layers": 2,
        "width": 32,
        "head_width": 16,
        "patch_size": 8,
    },
    "text_cfg": {
        "context_length": CONTEXT,
        "vocab_size": len(WORDS),
        "width": 32,
        "heads": 2,
        "layers": 2,
        "hf_tokenizer_name": "in this folder",
        "pool_type": "eos",
        "eos_id": 2,
        "pad_id": 0,
    },
}
CLIP_PREPROCESSING: dict[str, Any] = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25]}


def save_clip(folder: Path, seed: int = 0, **preprocessing: Any) -> Path:
    """An open_clip folder with weights, configuration and tokenizer."""
    folder.mkdir()
    config = {
        "model_cfg": CLIP_CONFIG,
        "preprocess_cfg": CLIP_PREPROCESSING | preprocessing,
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_tokenizer(folder)
    weights = random_clip_weights(seed, quick_gelu=False)
    save_file(weights, folder / "open_clip_model.safetensors")
    return folder


def random_clip_weights(seed: int, quick_gelu: bool) -> dict[str, torch.Tensor]:
    text = {k: v for k, v in CLIP_CONFIG["text_cfg"].items() if k != "hf_tokenizer_name"}
    torch.manual_seed(seed)
    model = open_clip.CLIP(CLIP_WIDTH, CLIP_CONFIG["vision_cfg"], text, quick_gelu=quick_gelu)
    for name, parameter in model.named_parameters():
        # open_clip's own start is so small that all embeddings would be nearly one direction.
        if parameter.ndim > 1 and "positional" not in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return {name: value.contiguous() for name, value in model.state_dict().items()}


def save_tokenizer(folder: Path) -> None:
    words = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>")
    )
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 1), ("<end>", 2)]
    )
    tokenizer_class: Any = PreTrainedTokenizerFast
    tokenizer_class(
        tokenizer_object=words,
        bos_token="<start>",
        eos_token="<end>",
        pad_token="<pad>",
        unk_token="<unk>",
    ).save_pretrained(folder)


def save_dino(folder: Path, seed: int = 0, image_size: int = 28) -> Path:
    """A transformers ViT folder, without a preprocessor's configuration."""
    torch.manual_seed(seed)
    config = ViTConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        image_size=image_size,
        patch_size=7,
        initializer_range=0.3,
    )
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def noise(count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Smooth coloured pictures, ``B 3 H W`` uint8."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 6, 6, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    grain = 0.1 * torch.rand(count, 3, height, width, generator=generator)
    return ((smooth * 0.9 + grain).clamp(0, 1) * 255).round().to(torch.uint8)
