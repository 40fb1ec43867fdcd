"""Runs of the shipped configs with changed weights, without any training."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml

from idgen.export.exported_run import ExportedRun
from idgen.module import PersonalizationModule
from idgen.runs.freezing import ConfigReader

CONFIGS = Path(__file__).parents[2] / "configs"
BASE = CONFIGS / "base.yaml"
METHODS = [
    BASE,
    *sorted(CONFIGS.glob("method/*.yaml")),
    CONFIGS / "ablation" / "fused_at_inference.yaml",
    CONFIGS / "mechanism" / "exclusion.yaml",
    CONFIGS / "mechanism" / "picture_routing.yaml",
    CONFIGS / "mechanism" / "low_rank_experts.yaml",
]
FUSING = ("fused_at_inference", "picture_routing", "low_rank_experts")
PROMPTS = ("a [V] dog on the beach", "a [V] dog in the snow")
MakeRun = Callable[..., ExportedRun]


def drawn_alike(method: Path) -> str:
    """What decides how a method is exported: its tuning and its conditioning."""
    parts = [yaml.safe_load(path.read_text())["model"] for path in dict.fromkeys((BASE, method))]
    found: dict[str, Any] = {}
    for part in parts:
        for key in ("tuning", "conditioning"):
            given = part.get(key, {})
            same = given.get("class_path") in (None, found.get(key, {}).get("class_path"))
            old = found.get(key, {}) if same else {}
            arguments = {**old.get("init_args", {}), **given.get("init_args", {})}
            found[key] = {**old, **given, "init_args": arguments}
    return json.dumps(found, sort_keys=True)


@cache
def reader() -> ConfigReader:
    """The parser, which takes seconds to build."""
    return ConfigReader()


def make_run(method: Path, source: str, **settings: Any) -> ExportedRun:
    """A run of a method over base.yaml on a backbone, each trained weight moved."""
    fuses = method.stem in FUSING
    overlays = [str(path) for path in dict.fromkeys((BASE, method))]
    noun = "robot" if source == "mini" else "dog"
    config = reader().read(
        overlays,
        {
            "model.backbone.init_args.source": source,
            "model.sampler.init_args.steps": 2,
            "data.subject.photos": "mini:robot",
            "data.subject.class_noun": noun,
            "data.predict_prompts": "['a [V]']",
            "data.validation_prompts": "['a [V]']",
            "data.test_prompts": "['a [V]']",
            **({"model.conditioning.init_args.fuse_at_inference": "true"} if fuses else {}),
            **settings,
        },
    )
    module: PersonalizationModule = reader().build(config).parts.model
    module.configure_model()
    move(module)
    prompts = tuple(prompt.replace("dog", noun) for prompt in PROMPTS)
    return ExportedRun(module.eval(), 2, prompts)


@torch.no_grad()
def move(module: PersonalizationModule, seed: int = 1) -> None:
    """Moves every trained weight by a part of its size, as training would."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in module.named_parameters():
        if name in module.trained_shapes:
            size = float(weight.std()) if weight.numel() > 1 and weight.std() > 0 else 0.1
            weight += 0.5 * size * torch.randn(weight.shape, generator=generator)
