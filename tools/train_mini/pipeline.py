"""Puts the trained parts together as a diffusers pipeline folder, in half precision.

Run as ``python -m tools.train_mini.pipeline --work DIR``; the folder is replaced in one step, so it
may be done while the U-Net still trains.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from transformers import CLIPTextModel

from idgen.mini.assets import WEIGHTS
from tools.command import run
from tools.train_mini.checksums import write_checksums
from tools.train_mini.install import replace_folder
from tools.train_mini.needed import made_by
from tools.train_mini.tokenizer import CONTEXT, read_tokenizer
from tools.train_mini.unet import build_scheduler, build_unet
from tools.train_mini.vae import build_vae


def assemble(work: Path) -> Any:
    """Build the pipeline from the parts in ``work``, with the averaged weights.

    Raises:
        UserError: If one of them was not made yet.
    """
    made_by("clip encoder", work, "text_encoder/FINAL")
    made_by("vae", work, "vae_ema.pt")
    made_by("unet", work, "unet.ckpt")
    vae, unet = build_vae(), build_unet()
    vae.load_state_dict(torch.load(work / "vae_ema.pt", map_location="cpu", weights_only=True))
    scale = json.loads((work / "vae_scale.json").read_text())["scaling_factor"]
    vae.register_to_config(scaling_factor=scale)
    trained = torch.load(work / "unet.ckpt", map_location="cpu", weights_only=True)
    unet.load_state_dict(trained["ema"])
    tokenizer = read_tokenizer(work)
    tokenizer.model_max_length = CONTEXT
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel.from_pretrained(work / "text_encoder", dtype=torch.float32),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def export(pipeline: Any, folder: Path) -> None:
    """Write a pipeline into ``folder`` in half precision, replacing what was there."""
    fresh = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    pipeline.to(dtype=torch.float16).save_pretrained(fresh)
    # transformers loads in the type that the configuration names: that of the other parts.
    for config in fresh.glob("text_encoder*/config.json"):
        settings = json.loads(config.read_text())
        config.write_text(json.dumps(settings | {"dtype": "float32"}, indent=2) + "\n")
    replace_folder(fresh, folder)


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of the training run")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the parts")
    args = parser.parse_args()
    export(assemble(args.work), args.weights / "pipeline")
    write_checksums(args.weights)


if __name__ == "__main__":
    run(main)
