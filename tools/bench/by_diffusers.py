"""One picture by a script of diffusers alone: what `idgen sample` of an export is measured by.

``python -m tools.bench.by_diffusers OUT`` runs in the folder of ``tools.bench.start``: the mini
backbone, with the exported LoRA.
"""

import sys
from pathlib import Path

import diffusers
import torch

_MINI = Path(__file__).parents[2] / "idgen" / "mini" / "weights" / "pipeline"


def main() -> None:
    """Draw and save."""
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(_MINI)
    pipeline.load_lora_weights("export")
    pipeline.scheduler = diffusers.DPMSolverMultistepScheduler.from_config(
        pipeline.scheduler.config, algorithm_type="sde-dpmsolver++"
    )
    noise = torch.Generator().manual_seed(0)
    drawn = pipeline(
        "a sks robot in the snow", num_inference_steps=20, guidance_scale=4.0, generator=noise
    )
    drawn.images[0].save(Path(sys.argv[1]).with_suffix(".png"))


if __name__ == "__main__":
    main()
