"""`--format diffusers`: what `load_lora_weights` and `load_textual_inversion` take as it is."""

from pathlib import Path

import torch
from torch import Tensor

from idgen.export.exported_run import ExportedRun, check_loadable, check_prompt_alone
from idgen.export.format import Written
from idgen.export.lora_files import (
    EMBEDDING_FILE,
    low_rank_updates,
    write_diffusers_lora,
    write_embedding,
)
from idgen.module import PersonalizationModule


class DiffusersFormat:
    """LoRA of denoiser and text encoders in one file, a learnt token in another."""

    name = "diffusers"

    def check(self, module: PersonalizationModule, reference: bool) -> None:
        """Refuses fusion at inference, a reference photo, and what diffusers cannot load."""
        check_prompt_alone(module, reference, self.name)
        check_loadable(module)

    def write(self, run: ExportedRun, folder: Path, dtype: torch.dtype) -> Written:
        """Writes the LoRA, and the token's embedding beside it."""
        run.round_trained(dtype)
        networks = {part: low_rank_updates(run, part) for part in run.trained.networks}
        lora = write_diffusers_lora(folder, run.pipeline, networks, dtype)
        word = run.trained.word
        embedding = None if word is None else write_embedding(folder / EMBEDDING_FILE, word, dtype)
        return Written(run.word, dtype, lora=lora, embedding=embedding)

    def own_drawing(self, run: ExportedRun, written: Written) -> Tensor:
        """The run's, its trained weights rounded as in the file."""
        return run.draw()
