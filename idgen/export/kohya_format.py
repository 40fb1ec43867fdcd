"""`--format kohya`: one safetensors file for A1111, Forge and ComfyUI."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from idgen import __version__
from idgen.export.exported_run import ExportedRun, check_loadable, check_prompt_alone, slug
from idgen.export.format import Written
from idgen.export.kohya_names import KOHYA_FAMILIES
from idgen.export.lora_files import low_rank_updates, write_embedding
from idgen.export.noting import note_for
from idgen.export.updates import LowRankUpdate, of_one_alpha
from idgen.integrity import weights_digest
from idgen.loaded.export_note import KEY as NOTE
from idgen.module import PersonalizationModule
from idgen.processes import Prediction, VariancePreserving


class KohyaFormat:
    """LoRA under the names of kohya's sd-scripts; a learnt token in a file for `embeddings/`.

    Names are the family's (`kohya_names`), dots as underscores; `.lora_down.weight`,
    `.lora_up.weight` and `.alpha` follow. The metadata is what sd-scripts writes and the tools show
    (`ss_*`), and Stability AI's ModelSpec (`modelspec.*`).
    """

    name = "kohya"

    def check(self, module: PersonalizationModule, reference: bool) -> None:
        """Refuses fusion at inference, a reference photo, and what no loader takes."""
        check_prompt_alone(module, reference, self.name)
        check_loadable(module)

    def write(self, run: ExportedRun, folder: Path, dtype: torch.dtype) -> Written:
        """Writes the LoRA, and the token's embedding beside it."""
        run.round_trained(dtype)
        backbone = run.backbone
        networks = {p: of_one_alpha(low_rank_updates(run, p)) for p in run.trained.networks}
        part, family = backbone.denoiser_part, KOHYA_FAMILIES[run.pipeline]
        updates = family.named(networks, part, backbone.pipeline.config(part))
        state = kohya_state(updates, dtype)
        lora, embedding, word = None, None, run.trained.word
        if state:
            lora = folder / f"{run.name}.safetensors"
            note = note_for(run, self.name, run.word)
            said = {NOTE: json.dumps(note.as_plain()), **metadata(run, updates, state)}
            save_file(state, lora, said)
        if word is not None:
            embedding = write_embedding(embedding_file(folder, run), word, dtype)
        return Written(run.word, dtype, lora=lora, embedding=embedding)

    def own_drawing(self, run: ExportedRun, written: Written) -> Tensor:
        """The run's, its trained weights rounded as in the file."""
        return run.draw()


def embedding_file(folder: Path, run: ExportedRun) -> Path:
    """The token's file, whose name is the word that A1111 and ComfyUI know it by."""
    name = slug(run.module.words.token)
    return folder / f"{name if name != run.name else f'{name}_word'}.safetensors"


def kohya_state(updates: Sequence[LowRankUpdate], dtype: torch.dtype) -> dict[str, Tensor]:
    """LoRA as kohya's files have it.

    Args:
        updates: Under kohya's names.
        dtype: Of the weights.
    """
    state = {}
    for update in updates:
        state[f"{update.layer}.lora_down.weight"] = update.down.to(dtype).contiguous()
        state[f"{update.layer}.lora_up.weight"] = update.up.to(dtype).contiguous()
        state[f"{update.layer}.alpha"] = torch.tensor(update.alpha)
    return state


def metadata(
    run: ExportedRun, updates: Sequence[LowRankUpdate], state: Mapping[str, Tensor]
) -> dict[str, str]:
    """What A1111, Forge and ComfyUI show of a file: all values are text.

    Args:
        run: Loaded.
        updates: All of them.
        state: The file's tensors.
    """
    backbone, module, family = run.backbone, run.module, KOHYA_FAMILIES[run.pipeline]
    process = backbone.process
    predicts = process.prediction if isinstance(process, VariancePreserving) else None
    is_v = predicts is Prediction.v_prediction
    config = backbone.pipeline.config(backbone.denoiser_part)
    architecture = family.architecture(config, is_v)
    is_two = architecture.startswith("stable-diffusion-v2")
    triggers = run.triggers(run.word)
    side = run.views.side
    ranks = {update.rank for update in updates}
    alphas = {update.alpha for update in updates}
    base = run.base or Path(backbone.source).name
    comment = (
        f"{module.tuning.name} + {type(module.conditioning).__name__} by idgen {__version__}, "
        f"{run.step} steps; prompts such as: {run.spoken(run.example, run.word)}"
    )
    of_noise = {"modelspec.prediction_type": "v" if is_v else "epsilon"} if predicts else {}
    return {
        "ss_base_model_version": "sd_v2" if is_two else family.version,
        "ss_sd_model_name": base,
        "ss_v2": str(is_two),
        "ss_v_parameterization": str(is_v),
        "ss_network_module": family.network,
        "ss_network_dim": str(ranks.pop()) if len(ranks) == 1 else "Dynamic",
        "ss_network_alpha": str(alphas.pop()) if len(alphas) == 1 else "Dynamic",
        "ss_output_name": run.name,
        **run.views.as_kohya_has_them(),
        "ss_steps": str(run.step),
        "ss_max_train_steps": str(run.step),
        "ss_seed": str(module.seed),
        "ss_optimizer": module.optimization.kind,
        "ss_tag_frequency": json.dumps({run.name: dict.fromkeys(triggers, 1)}),
        "ss_training_comment": comment,
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{architecture}/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.title": run.name,
        "modelspec.resolution": f"{side}x{side}",
        **of_noise,
        "modelspec.trigger_phrase": ", ".join(triggers),
        "modelspec.description": comment,
        "modelspec.hash_sha256": f"0x{weights_digest(state)}",
    }
