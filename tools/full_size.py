"""The main job at the true size of a backbone, with random weights.

``python -m tools.full_size sd21 --work DIR`` writes a pipeline folder and the image encoder of
that layout to ``DIR`` (about 5 GB), then runs ``idgen fit`` for two steps, the same run cut after
step one and resumed, and ``idgen test`` on what was saved. It reports the seconds and the memory
of each, whether resumed and uninterrupted weights are equal, and the checkpoint's size. Random
weights draw noise; what is tried is that the real layouts load, train, fit in memory and resume.

``sd15`` is the same at 1.5's size. ``sdxl`` and ``sd35_medium`` are written in bfloat16 (7 and 6
GB), a part at a time, and trained so with gradient checkpointing and a batch of 1, T5 left out; the
image encoder is the mini world's, since the published ones are as large again.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

_VOCABULARY = 49408
_CONTEXT = 77


@dataclass(frozen=True)
class Layout:
    """What tells the two families apart.

    Attributes:
        overlay: Its config.
        unet: Arguments of its U-Net.
        text: Arguments of its text encoder.
        image_encoder: open_clip's name of the text encoder's image twin.
    """

    overlay: str
    unet: dict[str, Any]
    text: dict[str, Any]
    image_encoder: str


LAYOUTS = {
    "sd21": Layout(
        overlay="configs/backbone/sd21.yaml",
        unet={
            "cross_attention_dim": 1024,
            "attention_head_dim": (5, 10, 20, 20),
            "use_linear_projection": True,
        },
        text={
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 23,
            "num_attention_heads": 16,
            "hidden_act": "gelu",
        },
        image_encoder="ViT-H-14",
    ),
    "sd15": Layout(
        overlay="configs/backbone/sd15.yaml",
        unet={"cross_attention_dim": 768, "attention_head_dim": 8},
        text={
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "hidden_act": "quick_gelu",
        },
        image_encoder="ViT-L-14",
    ),
}


def tokenizer() -> CLIPTokenizer:
    """CLIP's own tokenizer, from the merges that open_clip ships."""
    source = Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
    lines = gzip.decompress(source.read_bytes()).decode().split("\n")
    merges = [tuple(line.split()) for line in lines[1 : _VOCABULARY - 256 - 2 - 256 + 1]]
    letters = list(open_clip.tokenizer.bytes_to_unicode().values())
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(m) for m in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: index for index, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=_CONTEXT)


def save_pipeline(layout: Layout, folder: Path, prediction_type: str) -> None:
    """Write a pipeline folder with random weights, in half precision."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(sample_size=64, **layout.unet)
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        sample_size=512,
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=_VOCABULARY,
            max_position_embeddings=_CONTEXT,
            eos_token_id=49407,
            **layout.text,
        )
    )
    scheduler = PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        skip_prk_steps=True,
        steps_offset=1,
        prediction_type=prediction_type,
    )
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer(),
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(torch.float16).save_pretrained(folder)


def save_image_encoder(layout: Layout, folder: Path) -> None:
    """Write the open_clip folder of the text encoder's image twin, random too."""
    torch.manual_seed(1)
    model = open_clip.create_model(layout.image_encoder, precision="fp16")
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": open_clip.get_model_config(layout.image_encoder), "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    weights = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")


def timed_run(name: str, arguments: list[str]) -> None:
    """Run a command line of idgen and report its seconds and its memory.

    Raises:
        SystemExit: If it fails.
    """
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "idgen", *arguments])
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{name} failed: idgen {' '.join(arguments)}")
    peak = usage.ru_maxrss / 2**20
    print(f"{name}: {time.monotonic() - started:.0f} s, {peak:.1f} GB at most", flush=True)


def options(layout: Layout, work: Path, resolution: int) -> list[str]:
    """What every command has on a CPU: two steps of drawings, single precision."""
    return [
        *("--config", "configs/base.yaml", "--config", layout.overlay),
        *("--trainer.precision", "32-true", "--trainer.accelerator", "cpu"),
        *("--trainer.val_check_interval", "2", "--trainer.num_sanity_val_steps", "0"),
        *("--model.backbone.init_args.dtype", "float32"),
        *("--model.sampler.init_args.steps", "2"),
        *of_local_folders(work, resolution),
    ]


def of_local_folders(work: Path, resolution: int) -> list[str]:
    """Options for an overlay: the folders that were written, and the mini world's photos."""
    data, fidelity = "--data.preparation", "--fidelity"
    encoder = "idgen.models.encoders.ImageEncoder"
    return [
        *("--model.backbone.init_args.source", str(work / "pipeline")),
        *(f"{data}.segmenter", "idgen.prepare.SamSegmenter"),
        *(f"{data}.image_encoder", encoder),
        *(f"{data}.image_encoder.init_args.model", f"local-dir:{work / 'encoder'}"),
        *(f"{data}.image_encoder.init_args.pretrained", "null"),
        *(f"{data}.resolution", str(resolution)),
        *(f"{fidelity}.clip.init_args.model", "mini"),
        *(f"{fidelity}.clip.init_args.pretrained", "null"),
        *(f"{fidelity}.dino.init_args.model", "mini"),
        *("--data.subject.prepared", str(work / "prepared")),
        *("--data.validation_prompts", '["a photo of a [V] robot"]'),
        *("--data.test_prompts", '["a photo of a [V] robot"]'),
        *("--data.validation_images", "1", "--data.test_images", "1"),
    ]


def report(work: Path) -> None:
    """Compare the two checkpoints, and say how large they are beside the backbone."""
    once, twice = (
        torch.load(work / name / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)
        for name in ("straight", "resumed")
    )
    equal = once["state_dict"].keys() == twice["state_dict"].keys() and all(
        torch.equal(value, twice["state_dict"][key]) for key, value in once["state_dict"].items()
    )
    trained = sum(value.numel() for value in once["state_dict"].values())
    file = (work / "straight" / "checkpoints" / "last.ckpt").stat().st_size / 1e6
    backbone = sum(f.stat().st_size for f in (work / "pipeline").rglob("*.safetensors")) / 1e6
    print(f"resumed equals uninterrupted: {equal}")
    print(
        f"{trained} trained parameters; checkpoint {file:.1f} MB, "
        f"backbone in half precision {backbone:.0f} MB"
    )


def train_and_report(work: Path, shared: list[str]) -> None:
    """Train two steps at once and with a stop between, test, and say what it took."""
    straight, resumed = (
        ["--trainer.default_root_dir", str(work / name)] for name in ("straight", "resumed")
    )
    timed_run("prepare, fit 2 steps", ["fit", *shared, *straight, "--trainer.max_steps", "2"])
    timed_run("fit 1 step", ["fit", *shared, *resumed, "--trainer.max_steps", "1"])
    last = str(work / "resumed" / "checkpoints" / "last.ckpt")
    timed_run("resumed to step 2", ["fit", "--ckpt_path", last, "--trainer.max_steps", "2"])
    timed_run("test", ["test", "--ckpt_path", last])
    report(work)


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__)
    # It needs CLIP's tokenizer of this file.
    from tools.full_size_families import FAMILIES, family_options, save_family

    parser.add_argument("layout", choices=[*sorted(LAYOUTS), *FAMILIES])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--resolution", type=int, default=512, help="pixels a side of the photos")
    parser.add_argument("--prediction-type", default="epsilon", choices=("epsilon", "v_prediction"))
    parser.add_argument(
        "--only-write",
        action="store_true",
        help="write the folders, print the options of idgen fit for them a line each, and end",
    )
    args = parser.parse_args()
    work = args.work.absolute()
    if (family := FAMILIES.get(args.layout)) is not None:
        if not (work / "pipeline").exists():
            part = work / "pipeline.part"
            save_family(family, part, args.resolution, tokenizer())
            part.rename(work / "pipeline")
        train_and_report(work, family_options(family, work, args.resolution))
        return
    layout = LAYOUTS[args.layout]
    if not (work / "encoder").exists():
        save_pipeline(layout, work / "pipeline", args.prediction_type)
        part = work / "encoder.part"  # what was cut short must not count as written
        save_image_encoder(layout, part)
        part.rename(work / "encoder")
    if args.only_write:
        print(f"--config={layout.overlay}", *of_local_folders(work, args.resolution), sep="\n")
        return
    train_and_report(work, options(layout, work, args.resolution))


if __name__ == "__main__":
    main()
