"""Which backbone is for which of diffusers' pipelines, by the names in model_index.json."""

from collections.abc import Mapping
from typing import Any

FAMILIES: Mapping[str, str] = {
    "StableDiffusionPipeline": "StableDiffusionBackbone",
    "StableDiffusionXLPipeline": "SDXLBackbone",
    "StableDiffusion3Pipeline": "StableDiffusion3Backbone",
    "FluxPipeline": "FluxBackbone",
    "ZImagePipeline": "ZImageBackbone",
}
"""The backbone of each pipeline that is taken."""


def advice(index: Mapping[str, Any]) -> str:
    """What to do with a pipeline that a backbone does not take, to put behind an error.

    Args:
        index: The content of model_index.json.
    """
    name = str(index.get("_class_name", ""))
    if is_refiner(index):
        return (
            "it is SDXL's refiner, which goes on from another model's latents and is not "
            "personalised; take the base model, such as stabilityai/stable-diffusion-xl-base-1.0"
        )
    if name in FAMILIES:
        return f"folders of {name} are for idgen.backbones.{FAMILIES[name]}"
    taken = ", ".join(f"{kind} ({backbone})" for kind, backbone in FAMILIES.items())
    return f"pipelines that are taken: {taken}"


def is_refiner(index: Mapping[str, Any]) -> bool:
    """Whether a pipeline is SDXL's refiner: it asks for an aesthetic score, or has one encoder."""
    if index.get("requires_aesthetics_score"):
        return True
    first, second = index.get("text_encoder"), index.get("text_encoder_2")
    is_xl = str(index.get("_class_name", "")).startswith("StableDiffusionXL")
    return is_xl and not any(first or ()) and any(second or ())
