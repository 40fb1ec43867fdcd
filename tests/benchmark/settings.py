"""A benchmark of tiny models, as YAML."""

from pathlib import Path
from typing import Any

import yaml

from idgen.benchmark.config import BenchmarkConfig, Method, SubjectPhotos
from tests.workspace import Workspace

LORA = Path(__file__).parents[2] / "configs" / "method" / "lora.yaml"


def benchmark_settings(workspace: Workspace) -> dict[str, Any]:
    """Two methods and the untrained model on one subject."""
    return {
        "output": str(workspace.folder / "benchmark"),
        "configs": [str(workspace.config)],
        "methods": {
            "ours": {},
            "plain LoRA": {"configs": [str(LORA)]},
            "untrained": {"configs": [str(LORA)], "trained": False},
        },
        "reference": "ours",
        "subjects": [{"photos": str(workspace.photos), "class_noun": "dog", "live": True}],
        "steps": 2,
        "prompts": ["a [V] {class_noun} on the beach", "a [V] {class_noun} in the snow"],
        "images": 1,
        "settings": {"trainer.limit_val_batches": 0, "checkpoint.keep": 0},
        "jobs": 1,
        "resamples": 100,
    }


def write_settings(workspace: Workspace, settings: dict[str, Any]) -> Path:
    path = workspace.folder / "benchmark.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    return path


ONE: dict[str, Any] = {"ours": {}}
TWO = {
    **ONE,
    "untrained": {"settings": {"model.tuning.init_args.rank": 1}, "trained": False},
}


def config_of(workspace: Workspace, **changed: Any) -> BenchmarkConfig:
    values = {**benchmark_settings(workspace), **changed}
    values["methods"] = {name: Method(**method) for name, method in values["methods"].items()}
    values["subjects"] = [
        SubjectPhotos(**entry) if isinstance(entry, dict) else entry for entry in values["subjects"]
    ]
    return BenchmarkConfig(**values)
