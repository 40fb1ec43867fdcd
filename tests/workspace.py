"""A subject, tiny models and a config that trains on them through the real command line."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from transformers import ViTConfig, ViTModel

from tests.tiny import save_open_clip, save_pipeline


@dataclass(frozen=True)
class TinyModels:
    """Folders of random models that fit together."""

    pipeline: Path
    encoder: Path
    clip: Path
    dino: Path

    @classmethod
    def save(cls, folder: Path) -> "TinyModels":
        torch.manual_seed(0)
        dino = ViTConfig(
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            image_size=16,
            patch_size=8,
        )
        ViTModel(dino, add_pooling_layer=False).save_pretrained(folder / "dino")
        return cls(
            save_pipeline(folder / "pipeline"),
            save_open_clip(folder / "encoder"),
            save_open_clip(folder / "clip", seed=3),
            folder / "dino",
        )


@dataclass(frozen=True)
class Workspace:
    """A folder with photos, masks and `config.yaml`."""

    folder: Path
    models: TinyModels

    @property
    def photos(self) -> Path:
        return self.folder / "photos"

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def last(self) -> Path:
        return self.run / "checkpoints" / "last.ckpt"

    def settings(self) -> dict[str, Any]:
        return settings(self.folder, self.models)

    def write(self, changed: dict[str, Any]) -> None:
        self.config.write_text(yaml.safe_dump(changed))

    def fit(self, *options: str, config: bool = True) -> int:
        from idgen.cli import main

        return main(["fit", *(["--config", str(self.config)] if config else []), *options])


def make_workspace(folder: Path, models: TinyModels, photos: int = 3) -> Workspace:
    """Draws photos of a light square on noise, with their masks, and writes the config."""
    random = np.random.default_rng(0)
    for name in ("photos", "masks"):
        (folder / name).mkdir(parents=True)
    for index in range(photos):
        picture = random.integers(0, 90, (40, 48, 3), dtype=np.uint8)
        mask = np.zeros((40, 48), np.uint8)
        mask[8:30, 8 + index : 30 + index] = 255
        picture[mask > 0] += np.uint8(150)
        Image.fromarray(picture).save(folder / "photos" / f"{index}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{index}.png")
    workspace = Workspace(folder, models)
    workspace.write(workspace.settings())
    return workspace


def settings(folder: Path, models: TinyModels) -> dict[str, Any]:
    """A training config of a few steps."""

    def part(path: str, **arguments: Any) -> dict[str, Any]:
        return {"class_path": path, "init_args": arguments}

    prompts = ["a [V] dog on the beach", "a [V] dog in the snow", "a photo of a [V] dog"]
    return {
        "trainer": {
            "default_root_dir": str(folder / "run"),
            "max_steps": 4,
            "val_check_interval": 2,
            "log_every_n_steps": 1,
            "accelerator": "cpu",
            "devices": 1,
            "num_sanity_val_steps": 0,
            "enable_progress_bar": True,
        },
        "model": {
            "backbone": part(
                "idgen.backbones.StableDiffusionBackbone",
                source=str(models.pipeline),
            ),
            "tuning": part("idgen.models.tuning.LoraTuning", rank=2),
            "conditioning": part("idgen.models.conditioning.DecoupledFusion", experts=2),
            "optimizer": part("torch.optim.AdamW", lr=1e-2),
            "terms": {
                "diffusion": part("idgen.terms.Diffusion", weight=1.0, background=1.0),
                "weak_denoising": part("idgen.terms.WeakDenoising", weight=0.1, background=1.0),
                "implicit_text": part("idgen.terms.ImplicitText", weight=1e-3),
                "implicit_explicit": part("idgen.terms.ImplicitExplicit", weight=1e-3),
                "text_explicit": part("idgen.terms.TextExplicit", weight=1e-3),
            },
            "sampler": part("idgen.sampling.Sampler", steps=2),
        },
        "data": {
            "subject": {
                "photos": str(folder / "photos"),
                "class_noun": "dog",
                "prepared": str(folder / "prepared"),
            },
            "preparation": {
                "segmenter": part("idgen.prepare.MaskFiles", folder=str(folder / "masks")),
                "image_encoder": part(
                    "idgen.models.encoders.ImageEncoder", model=f"local-dir:{models.encoder}"
                ),
            },
            "validation_prompts": prompts,
            "test_prompts": prompts,
            "predict_prompts": prompts[:1],
            "validation_images": 1,
            "test_images": 2,
            "predict_images": 2,
            "batch_size": 2,
            "steps_per_epoch": 3,
            "drawing_batch_size": 2,
        },
        "fidelity": {
            "clip": part("idgen.metrics.encoders.ClipScorer", model=f"local-dir:{models.clip}"),
            "dino": part("idgen.metrics.encoders.DinoScorer", model=str(models.dino)),
        },
    }


def run_idgen(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "idgen", *arguments],
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, **environment},
        check=False,
    )
