"""The mini segment-anything model, built from that package's own classes in a small size."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from idgen.errors import UserError, first_line

CONFIG = "config.json"
WEIGHTS = "model.safetensors"


def build_mini_sam(config: dict[str, Any]) -> Any:
    """Build an untrained `segment_anything.modeling.Sam` from its sizes.

    Args:
        config: `image_size` and `patch_size` in pixels; `depth`, `width`, `heads`, `window` (in
            patches) and `global_blocks` of the image encoder; `prompt_width`, the width of
            prompts and decoder; `decoder_depth`, `decoder_heads`, `decoder_mlp`,
            `mask_in_chans`; `pixel_mean` and `pixel_std` in levels of 0 to 255.
    """
    from segment_anything.modeling import (
        ImageEncoderViT,
        MaskDecoder,
        PromptEncoder,
        Sam,
        TwoWayTransformer,
    )
    from torch import nn

    side, patch, width = config["image_size"], config["patch_size"], config["prompt_width"]
    grid = side // patch
    encoder = ImageEncoderViT(
        img_size=side,
        patch_size=patch,
        embed_dim=config["width"],
        depth=config["depth"],
        num_heads=config["heads"],
        mlp_ratio=4.0,
        out_chans=width,
        qkv_bias=True,
        norm_layer=nn.LayerNorm,
        use_rel_pos=True,
        window_size=config["window"],
        global_attn_indexes=tuple(config["global_blocks"]),
    )
    prompts = PromptEncoder(
        embed_dim=width,
        image_embedding_size=(grid, grid),
        input_image_size=(side, side),
        mask_in_chans=config["mask_in_chans"],
    )
    decoder = MaskDecoder(
        transformer_dim=width,
        transformer=TwoWayTransformer(
            depth=config["decoder_depth"],
            embedding_dim=width,
            num_heads=config["decoder_heads"],
            mlp_dim=config["decoder_mlp"],
        ),
        iou_head_hidden_dim=width,
    )
    return Sam(encoder, prompts, decoder, config["pixel_mean"], config["pixel_std"])


def load_mini_sam(folder: Path) -> Any:
    """Load the `Sam` of a folder that holds `config.json` and `model.safetensors`, in float32.

    Raises:
        UserError: If the folder holds no such model.
    """
    try:
        model = build_mini_sam(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
        state = load_file(folder / WEIGHTS)
        model.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    except KeyError as error:
        raise UserError(f"{folder / CONFIG} does not name {error}") from error
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        reason = first_line(error)
        raise UserError(f"{folder} holds no mini segment-anything model ({reason})") from error
    return model.eval()
