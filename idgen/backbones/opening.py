"""The backbone of a bare name, whose family its pipeline says itself."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from idgen.backbones.families import FAMILIES
from idgen.backbones.flux import FluxBackbone
from idgen.backbones.parts import configuration_folder
from idgen.backbones.pipeline import PipelineBackbone
from idgen.backbones.sd3 import StableDiffusion3Backbone
from idgen.backbones.sdxl import SDXLBackbone
from idgen.backbones.single_file import Source
from idgen.backbones.stable_diffusion import StableDiffusionBackbone
from idgen.backbones.z_image import ZImageBackbone
from idgen.sources import MINI_FLOW

_INDEX = "model_index.json"
_OTHERS: tuple[type[PipelineBackbone], ...] = (
    SDXLBackbone,
    StableDiffusion3Backbone,
    FluxBackbone,
    ZImageBackbone,
)

# What it was trained with; its configuration cannot say so.
_OF_EMBEDDED: Mapping[str, Mapping[str, Any]] = {MINI_FLOW: {"t5_tokens": 1}}


def backbone_of(source: Source) -> PipelineBackbone:
    """A backbone with its family's own settings; no weights are loaded.

    Args:
        source: `mini`, `mini-flow`, a pipeline folder, a hub id, of which the configuration alone
            is fetched, or a model in one file.

    Raises:
        UserError: If there is no such pipeline, or no backbone takes its family.
    """
    parameter = "StableDiffusionBackbone.source"
    folder = configuration_folder(source, None, parameter)
    name = FAMILIES.get(_class_name(folder / _INDEX))
    kinds = {kind.__name__: kind for kind in _OTHERS}
    # It refuses what no backbone takes, and says why.
    kind: Any = kinds.get(str(name), StableDiffusionBackbone)
    backbone: PipelineBackbone = kind(source, **_OF_EMBEDDED.get(str(source), {}))
    return backbone


def _class_name(index: Path) -> str:
    """The pipeline's class; empty where it cannot be read, which backbones explain."""
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(content.get("_class_name", "")) if isinstance(content, dict) else ""
