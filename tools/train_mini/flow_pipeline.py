"""Puts the trained flow parts together as a diffusers pipeline folder of SD 3's layout.

Run as ``python -m tools.train_mini.flow_pipeline --work DIR``; the folder is replaced in one step,
so it may be done while the transformer still trains.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusion3Pipeline

from idgen.mini.assets import WEIGHTS
from tools.command import run
from tools.train_mini.checksums import write_checksums
from tools.train_mini.flow import build_flow_scheduler, build_transformer, projected_text_encoder
from tools.train_mini.needed import made_by
from tools.train_mini.pipeline import export
from tools.train_mini.tokenizer import CONTEXT, read_tokenizer
from tools.train_mini.vae import build_vae


def assemble(work: Path) -> Any:
    """Build the pipeline from the parts in ``work``, with the averaged weights.

    The same text encoder stands in both of CLIP's places, and T5's is empty.

    Raises:
        UserError: If one of them was not made yet.
    """
    made_by("flow", work, "flow.ckpt")
    made_by("vae", work, "vae_ema.pt")
    vae, transformer = build_vae(), build_transformer()
    vae.load_state_dict(torch.load(work / "vae_ema.pt", map_location="cpu", weights_only=True))
    scale = json.loads((work / "vae_scale.json").read_text())["scaling_factor"]
    vae.register_to_config(scaling_factor=scale, shift_factor=0.0)
    trained = torch.load(work / "flow.ckpt", map_location="cpu", weights_only=True)
    transformer.load_state_dict(trained["ema"])
    tokenizer = read_tokenizer(work)
    tokenizer.model_max_length = CONTEXT
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=build_flow_scheduler(),
        vae=vae,
        text_encoder=projected_text_encoder(work),
        tokenizer=tokenizer,
        text_encoder_2=projected_text_encoder(work),
        tokenizer_2=tokenizer,
        text_encoder_3=None,
        tokenizer_3=None,
    )


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of the training run")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the parts")
    args = parser.parse_args()
    export(assemble(args.work), args.weights / "flow")
    write_checksums(args.weights)


if __name__ == "__main__":
    run(main)
