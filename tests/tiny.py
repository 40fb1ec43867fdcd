"""Random models of seconds' size in the formats of the real ones."""

import json
import string
from pathlib import Path
from typing import Any

import torch

WORDS = ("sks", "dog", "photo", "on", "the", "beach", "of", "in", "snow")


def save_tokenizer(folder: Path, length: int = 32) -> int:
    """Writes a CLIPTokenizer that knows a few words, and returns its vocabulary's size."""
    from transformers import CLIPTokenizer

    letters = list(string.ascii_lowercase + string.digits + ".,[]'")
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        pieces = [*word[:-1], f"{word[-1]}</w>"]
        while len(pieces) > 1:
            pair = (pieces[0], pieces[1])
            if pair not in merges:
                merges.append(pair)
                tokens.append("".join(pair))
            pieces = ["".join(pair), *pieces[2:]]
    tokens = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    vocab = folder / "vocab.json"
    vocab.write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    tokenizer = CLIPTokenizer(
        vocab={token: index for index, token in enumerate(tokens)},
        merges=merges,
        model_max_length=length,
    )
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


def save_pipeline(
    folder: Path,
    prediction_type: str = "epsilon",
    width: int = 32,
    seed: int = 0,
    side: int = 16,
) -> Path:
    """Writes a Stable Diffusion pipeline folder with random weights; `side` is of its pictures."""
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(seed)
    words = save_tokenizer(folder / "tokenizer")
    unet = UNet2DConditionModel(
        sample_size=side // 2,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=width,
        attention_head_dim=8,
        norm_num_groups=8,
    )
    vae = AutoencoderKL(
        block_out_channels=(16, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=side,
        scaling_factor=0.5,
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=words,
            hidden_size=width,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=32,
        )
    )
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        unet=unet,
        scheduler=DDIMScheduler(prediction_type=prediction_type, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def save_open_clip(folder: Path, width: int = 32, seed: int = 0) -> Path:
    """Writes an open_clip folder with random weights."""
    import open_clip
    from safetensors.torch import save_file

    words = save_tokenizer(folder)
    config: dict[str, Any] = {
        "embed_dim": width,
        "vision_cfg": {
            "image_size": 16,
            "layers": 1,
            "width": 32,
            "head_width": 16,
            "patch_size": 8,
        },
        "text_cfg": {
            "context_length": 32,
            "vocab_size": words,
            "width": 32,
            "heads": 2,
            "layers": 1,
            "hf_tokenizer_name": str(folder),
        },
    }
    torch.manual_seed(seed)
    text = dict(config["text_cfg"])
    text.pop("hf_tokenizer_name")
    model = open_clip.CLIP(config["embed_dim"], config["vision_cfg"], text)
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3}
    contents = {"model_cfg": config, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(contents))
    weights = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    return folder
