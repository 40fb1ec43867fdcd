"""`--format embeddings`: finished states of given prompts, for `prompt_embeds=` of diffusers."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from idgen.errors import UserError
from idgen.export.exported_run import ExportedRun
from idgen.export.format import Written
from idgen.export.lora_files import low_rank_updates, write_diffusers_lora
from idgen.models.conditioning import DecoupledFusion
from idgen.models.entry import FeatureEntry
from idgen.module import PersonalizationModule

EMBEDS_FILE = "prompt_embeds.safetensors"


class EmbeddingsFormat:
    """What the U-Net receives, whatever made it: fusion, or a photo's feature, too.

    The LoRA of the U-Net is beside it. The text encoder is not needed any more.
    """

    name = "embeddings"

    def check(self, module: PersonalizationModule, reference: bool) -> None:
        """Refuses a reference photo that comes as a token of its own.

        Raises:
            UserError: If it does: diffusers wants prompt and negative prompt of one length.
        """
        if not reference:
            return
        module.conditioning.check_reference()
        conditioning = module.conditioning
        own_token = (
            isinstance(conditioning, DecoupledFusion)
            and conditioning.entrance.entry is FeatureEntry.token
        )
        if own_token and module.sampler.guidance != 1:
            raise UserError(
                "--reference: the photo's feature is a token of its own, and diffusers takes no "
                "prompt that is longer than the negative one; draw with idgen sample"
            )

    @torch.no_grad()
    def write(self, run: ExportedRun, folder: Path, dtype: torch.dtype) -> Written:
        """Writes states `P N D` of the prompts and `1 N D` of the negative one, and the LoRA."""
        run.round_trained(dtype)
        denoiser = {"unet": low_rank_updates(run, "unet")}
        lora = write_diffusers_lora(folder, run.pipeline, denoiser, dtype)
        sampler = run.sampler
        # One by one, as a drawing has them.
        states = [run.conditions([prompt]).states for prompt in run.prompts]
        held = {"prompt_embeds": torch.cat(states)}
        if sampler.guidance != 1:
            held["negative_prompt_embeds"] = run.backbone.encode([sampler.negative_prompt]).states
        said = {
            "prompts": json.dumps([run.spoken(prompt, run.word) for prompt in run.prompts]),
            "negative_prompt": sampler.negative_prompt,
        }
        path = folder / EMBEDS_FILE
        save_file({k: v.cpu().to(dtype).contiguous() for k, v in held.items()}, path, said)
        return Written(run.word, dtype, lora=lora, embeds=path)

    def own_drawing(self, run: ExportedRun, written: Written) -> Tensor:
        """The run's, its trained weights rounded as in the file."""
        return run.draw()
