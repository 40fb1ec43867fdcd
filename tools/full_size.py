"""The main job at the true size of a backbone, with random weights.

``python -m tools.full_size sd21 --work DIR`` writes a pipeline folder and the image encoder of
that layout to ``DIR`` (about 5 GB), then runs ``idgen fit`` for two steps, the same run cut after
step one and resumed, and ``idgen test`` on what was saved. It reports the seconds and the memory
of each, whether resumed and uninterrupted weights are equal, and the checkpoint's size. Random
weights draw noise; what is tried is that the real layouts load, train, fit in memory and resume.

``sd15`` is the same at 1.5's size. ``sdxl`` and ``sd35_medium`` are written in bfloat16 (7 and 6
GB), a part at a time, and trained so with gradient checkpointing and a batch of 1, T5 left out; the
image encoder is the mini world's, since the published ones are as large again. ``--only-write``
writes SDXL with them, for a GPU.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file

from tools.full_layouts import LAYOUTS, Layout, save_pipeline, tokenizer
from tools.full_size_families import FAMILIES, FamilyLayout, family_options, save_family

_FAMILY_SIDE = 1024
_ENCODER = "idgen.models.encoders.ImageEncoder"


def save_image_encoder(name: str, folder: Path) -> None:
    """Write the open_clip folder of a text encoder's image twin, random too."""
    torch.manual_seed(1)
    model = open_clip.create_model(name, precision="fp16")
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": open_clip.get_model_config(name), "preprocess_cfg": {}}
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
        *of_local_folders(layout, work, resolution),
    ]


def encoder_folders(layout: Layout, work: Path) -> list[Path]:
    """Where the image twins of the text encoders lie."""
    return [work / "encoders" / name for name in layout.image_encoders]


def of_local_folders(layout: Layout, work: Path, resolution: int | None) -> list[str]:
    """Options for an overlay: the folders that were written, and the mini world's photos."""
    data, fidelity = "--data.preparation", "--fidelity"
    sources = [
        {"model": f"local-dir:{folder}", "pretrained": None}
        for folder in encoder_folders(layout, work)
    ]
    encoder: dict[str, Any] = {"class_path": _ENCODER, "init_args": sources[0]}
    if len(sources) > 1:
        each = [{"class_path": _ENCODER, "init_args": source} for source in sources]
        side_by_side = "idgen.models.side_by_side.SideBySideEncoders"
        encoder = {"class_path": side_by_side, "init_args": {"encoders": each}}
    return [
        *("--model.backbone.init_args.source", str(work / "pipeline")),
        *(f"{data}.segmenter", "idgen.prepare.SamSegmenter"),
        *(f"{data}.image_encoder", json.dumps(encoder)),
        *(() if resolution is None else (f"{data}.resolution", str(resolution))),
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


def write(layout: Layout, work: Path, prediction_type: str) -> None:
    """Write a layout's pipeline and image encoders, what is not there yet."""
    part = work / "part"  # what was cut short must not count as written
    if not (work / "pipeline").exists():
        shutil.rmtree(part, ignore_errors=True)
        save_pipeline(layout, part, prediction_type).rename(work / "pipeline")
    for name, folder in zip(layout.image_encoders, encoder_folders(layout, work), strict=True):
        if not folder.exists():
            shutil.rmtree(part, ignore_errors=True)
            save_image_encoder(name, part)
            folder.parent.mkdir(exist_ok=True)
            part.rename(folder)


def write_family(family: FamilyLayout, work: Path, side: int) -> None:
    """Write the pipeline of a layout of `FAMILIES`, if it is not there yet."""
    part = work / "part"
    if not (work / "pipeline").exists():
        shutil.rmtree(part, ignore_errors=True)
        save_family(family, part, side, tokenizer())
        part.rename(work / "pipeline")


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
    parser.add_argument("layout", choices=sorted({*LAYOUTS, *FAMILIES}))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--resolution", type=int, help="pixels a side (default: the layout's own)")
    parser.add_argument("--prediction-type", default="epsilon", choices=("epsilon", "v_prediction"))
    parser.add_argument(
        "--only-write",
        action="store_true",
        help="write the folders, print the options of idgen fit for them a line each, and end",
    )
    args = parser.parse_args()
    work, family = args.work.absolute(), FAMILIES.get(args.layout)
    if family is not None and not (args.only_write and args.layout in LAYOUTS):
        side = args.resolution or _FAMILY_SIDE
        write_family(family, work, side)
        printed = shared = family_options(family, work, side)
    else:
        layout = LAYOUTS[args.layout]
        write(layout, work, args.prediction_type)
        local = of_local_folders(layout, work, args.resolution)
        printed = [f"--config={layout.overlay}", *local]
        shared = options(layout, work, args.resolution)
    if args.only_write:
        print(*printed, sep="\n")
    else:
        train_and_report(work, shared)


if __name__ == "__main__":
    main()
