"""SAM, SAM 2 and EdgeTAM of transformers with random weights, of seconds' size."""

from pathlib import Path
from typing import Any

import torch

from tests.tiny import save_tokenizer


def save_sam(folder: Path, seed: int = 0) -> Path:
    """SAM, whose square is 64 pixels a side."""
    from transformers import SamConfig, SamImageProcessor, SamModel

    vision: dict[str, Any] = {
        "hidden_size": 16,
        "output_channels": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 8,
        "mlp_dim": 16,
        "window_size": 4,
        "global_attn_indexes": [0],
        "num_pos_feats": 8,
    }
    prompt = {"hidden_size": 16, "image_size": 64, "patch_size": 8, "mask_input_channels": 4}
    decoder = {
        "hidden_size": 16,
        "mlp_dim": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 8,
    }
    torch.manual_seed(seed)
    config = SamConfig(
        vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder
    )
    SamModel(config).save_pretrained(folder)
    sizes = {"size": {"longest_edge": 64}, "pad_size": {"height": 64, "width": 64}}
    masks = {"mask_size": {"longest_edge": 16}, "mask_pad_size": {"height": 16, "width": 16}}
    SamImageProcessor(**sizes, **masks).save_pretrained(folder)
    return folder


def save_sam2(folder: Path, seed: int = 0) -> Path:
    """SAM 2, whose square is 64 pixels a side."""
    from transformers import Sam2Config, Sam2ImageProcessor, Sam2Model

    hiera = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "num_attention_heads": 1,
        "image_size": [64, 64],
        "patch_kernel_size": [7, 7],
        "patch_stride": [4, 4],
        "patch_padding": [3, 3],
        "query_stride": [2, 2],
        "window_positional_embedding_background_size": [4, 4],
        "num_query_pool_stages": 3,
        "blocks_per_stage": [1, 1, 1, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 1, 1],
        "window_size_per_stage": [4, 2, 2, 2],
        "global_attention_blocks": [],
    }
    vision = {
        "backbone_config": hiera,
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        "fpn_hidden_size": 32,
        "num_feature_levels": 3,
    }
    prompt = {"hidden_size": 32, "image_size": 64, "patch_size": 16, "mask_input_channels": 4}
    decoder = {
        "hidden_size": 32,
        "mlp_dim": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 8,
    }
    torch.manual_seed(seed)
    config = Sam2Config(
        vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder
    )
    Sam2Model(config).save_pretrained(folder)
    side = {"height": 64, "width": 64}
    Sam2ImageProcessor(size=side, mask_size={"height": 16, "width": 16}).save_pretrained(folder)
    return folder


def save_sam3(folder: Path, seed: int = 0) -> Path:
    """SAM 3, whose square is 56 pixels a side, with a processor that knows words."""
    from transformers import (
        CLIPTokenizerFast,
        Sam3Config,
        Sam3ImageProcessor,
        Sam3Model,
        Sam3Processor,
    )

    words = save_tokenizer(folder / "tokenizer", length=32)
    vit = {
        "model_type": "sam3_vit_model",
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 56,
        "patch_size": 14,
        "window_size": 2,
        "global_attn_indexes": [1],
        "pretrain_image_size": 28,
    }
    vision = {
        "backbone_config": vit,
        "fpn_hidden_size": 16,
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        "scale_factors": [4.0, 2.0, 1.0],
    }
    size = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    text = {
        **size,
        "model_type": "clip_text_model",
        "vocab_size": words,
        "num_hidden_layers": 1,
        "max_position_embeddings": 32,
        "projection_dim": 16,
    }
    torch.manual_seed(seed)
    config = Sam3Config(
        vision_config=vision,
        text_config=text,
        geometry_encoder_config={**size, "num_layers": 1},
        detr_encoder_config={**size, "num_layers": 1},
        detr_decoder_config={**size, "num_layers": 1, "num_queries": 5},
        mask_decoder_config=size,
    )
    Sam3Model(config).save_pretrained(folder)
    side, small = {"height": 56, "width": 56}, {"height": 16, "width": 16}
    tokenizer = CLIPTokenizerFast.from_pretrained(folder / "tokenizer")
    Sam3Processor(Sam3ImageProcessor(size=side, mask_size=small), tokenizer).save_pretrained(folder)
    return folder
