"""`--format kohya`: one safetensors file for A1111, Forge and ComfyUI."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from idgen import __version__
from idgen.export.exported_run import ExportedRun, check_prompt_alone, slug
from idgen.export.format import Written
from idgen.export.lora_files import low_rank_updates, text_layer, write_embedding
from idgen.export.noting import note_for
from idgen.export.updates import LowRankUpdate, of_one_alpha
from idgen.integrity import weights_digest
from idgen.loaded.export_note import KEY as NOTE
from idgen.module import PersonalizationModule
from idgen.processes import Prediction, VariancePreserving

_SD2_WIDTH = 1024


class KohyaFormat:
    """LoRA under the names of kohya's sd-scripts; a learnt token in a file for `embeddings/`.

    Names are those of diffusers' networks, dots as underscores, behind `lora_unet_` and `lora_te_`;
    `.lora_down.weight`, `.lora_up.weight` and `.alpha` follow. The metadata is what sd-scripts
    writes and the tools show (`ss_*`), and Stability AI's ModelSpec (`modelspec.*`).
    """

    name = "kohya"

    def check(self, module: PersonalizationModule, reference: bool) -> None:
        """Refuses fusion at inference and a reference photo."""
        check_prompt_alone(module, reference, self.name)

    def write(self, run: ExportedRun, folder: Path, dtype: torch.dtype) -> Written:
        """Writes the LoRA, and the token's embedding beside it."""
        run.round_trained(dtype)
        denoiser, text = (
            of_one_alpha(low_rank_updates(run, part)) for part in ("unet", "text_encoder")
        )
        state = kohya_state(denoiser, text, dtype)
        lora, embedding, word = None, None, run.trained.word
        if state:
            lora = folder / f"{run.name}.safetensors"
            note = note_for(run, self.name, run.word)
            said = {NOTE: json.dumps(note.as_plain()), **metadata(run, (*denoiser, *text), state)}
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


def kohya_state(
    denoiser: Sequence[LowRankUpdate], text: Sequence[LowRankUpdate], dtype: torch.dtype
) -> dict[str, Tensor]:
    """LoRA under kohya's names.

    Args:
        denoiser: Of the U-Net.
        text: Of the text encoder.
        dtype: Of the weights.
    """
    named: Iterator[tuple[str, LowRankUpdate]] = iter(
        [
            *((f"lora_unet_{u.layer}", u) for u in denoiser),
            *((f"lora_te_{text_layer(u.layer)}", u) for u in text),
        ]
    )
    state = {}
    for name, update in named:
        key = name.replace(".", "_")
        state[f"{key}.lora_down.weight"] = update.down.to(dtype).contiguous()
        state[f"{key}.lora_up.weight"] = update.up.to(dtype).contiguous()
        state[f"{key}.alpha"] = torch.tensor(update.alpha)
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
    backbone, module = run.backbone, run.module
    process = backbone.process
    is_v = isinstance(process, VariancePreserving) and process.prediction is Prediction.v_prediction
    is_two = backbone.features.width == _SD2_WIDTH
    triggers = run.triggers(run.word)
    size = backbone.resolution
    ranks = {update.rank for update in updates}
    alphas = {update.alpha for update in updates}
    base = run.base or Path(backbone.source).name
    comment = (
        f"{module.tuning.name} + {type(module.conditioning).__name__} by idgen {__version__}, "
        f"{run.step} steps; prompts such as: {run.spoken(run.example, run.word)}"
    )
    kind = f"stable-diffusion-v2-{'768-v' if is_v else '512'}" if is_two else "stable-diffusion-v1"
    return {
        "ss_base_model_version": "sd_v2" if is_two else "sd_v1",
        "ss_sd_model_name": base,
        "ss_v2": str(is_two),
        "ss_v_parameterization": str(is_v),
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(ranks.pop()) if len(ranks) == 1 else "Dynamic",
        "ss_network_alpha": str(alphas.pop()) if len(alphas) == 1 else "Dynamic",
        "ss_output_name": run.name,
        "ss_resolution": f"({size}, {size})",
        "ss_steps": str(run.step),
        "ss_max_train_steps": str(run.step),
        "ss_seed": str(module.seed),
        "ss_optimizer": module.optimization.kind,
        "ss_tag_frequency": json.dumps({run.name: dict.fromkeys(triggers, 1)}),
        "ss_training_comment": comment,
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{kind}/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.title": run.name,
        "modelspec.resolution": f"{size}x{size}",
        "modelspec.prediction_type": "v" if is_v else "epsilon",
        "modelspec.trigger_phrase": ", ".join(triggers),
        "modelspec.description": comment,
        "modelspec.hash_sha256": f"0x{weights_digest(state)}",
    }
