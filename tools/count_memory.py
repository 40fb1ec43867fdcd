"""Counts the memory of a training step of FLUX.1-dev, as `idgen doctor` does, without its weights.

`python -m tools.count_memory` writes the published layout's configuration to a temporary folder,
builds its networks on the meta device with configs/base.yaml and configs/backbone/flux1_dev.yaml
(one row of photos, by the rules of a CUDA GPU), and prints the
table of docs/backbones.md. With `--processes N` it is that of each of N GPUs that the transformer
is split between.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from idgen.doctor.memory import MemoryNeeded, memory_needed
from idgen.runs.freezing import ConfigReader
from idgen.shipped import shipped_configs
from tools.count_backbones import SIZES
from tools.full_layouts import tokenizer

CLIP_L = {
    "model_type": "clip_text_model",
    "vocab_size": 49408,
    "hidden_size": 768,
    "projection_dim": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "eos_token_id": 49407,
}
_T5_XXL = {
    "model_type": "t5",
    "vocab_size": 32128,
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
    "is_encoder_decoder": False,
    "use_cache": False,
}
_VAE = {
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "latent_channels": 16,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
}
_INDEX = {
    "_class_name": "FluxPipeline",
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "T5EncoderModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "T5TokenizerFast"],
    "transformer": ["diffusers", "FluxTransformer2DModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def save_configuration(folder: Path) -> Path:
    """Writes FLUX.1-dev as a pipeline folder without weights; T5's words are a few of its own."""
    flux = SIZES["flux1_dev"]
    configs: dict[str, Any] = {
        "transformer/config.json": {"_class_name": flux.kind, **flux.config},
        "text_encoder/config.json": CLIP_L,
        "text_encoder_2/config.json": _T5_XXL,
        "vae/config.json": _VAE,
        "scheduler/scheduler_config.json": {"shift": 3.0, "use_dynamic_shifting": True},
        "model_index.json": _INDEX,
    }
    for name, content in configs.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    tokenizer().save_pretrained(folder / "tokenizer")
    words = ["<pad>", "</s>", "<unk>", "sks"]
    raw = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, "<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder / "tokenizer_2")
    return folder


def needed(
    folder: Path, dtype: str, resolution: int, checkpointing: bool, processes: int = 1
) -> MemoryNeeded:
    """The memory of a step at batch 1.

    Args:
        folder: Of `save_configuration`.
        dtype: Of the frozen weights, as the backbone's setting.
        resolution: Pixels a side.
        checkpointing: Whether blocks are computed again.
        processes: That the transformer is split between.
    """
    configs, arguments = shipped_configs(), "model.backbone.init_args"
    reader = ConfigReader()
    config = reader.read(
        [str(configs / "base.yaml"), str(configs / "backbone" / "flux1_dev.yaml")],
        {
            f"{arguments}.source": str(folder),
            f"{arguments}.dtype": dtype,
            f"{arguments}.resolution": str(resolution),
            f"{arguments}.gradient_checkpointing": str(checkpointing).lower(),
            "data.subject.photos": "mini:robot",
            "data.subject.class_noun": "robot",
        },
    )
    precision = config.trainer.precision
    module = reader.build(config).parts.model
    return memory_needed(module, 1, precision, on_gpu=True, processes=processes)


def main() -> None:
    """Prints the table, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=1)
    processes = parser.parse_args().processes
    print("| frozen weights | pixels | gradient checkpointing | frozen | trained | passes | all |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as work:
        folder = save_configuration(Path(work))
        for dtype in ("bfloat16", "int8", "nf4") if processes == 1 else ("bfloat16",):
            for resolution in (512, 1024):
                for checkpointing in (False, True):
                    found = needed(folder, dtype, resolution, checkpointing, processes)
                    sizes = (found.frozen, found.trained, found.activations, found.total)
                    said = " | ".join(f"{size / 1e9:.2f} GB" for size in sizes)
                    yes = "yes" if checkpointing else "no"
                    print(f"| {dtype} | {resolution} | {yes} | {said} |", flush=True)


if __name__ == "__main__":
    main()
