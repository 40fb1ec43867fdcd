"""Every method in every format of `idgen export`, drawn by diffusers in a process without idgen.

``python -m tools.exports mini sd15 sd21`` prints, as a table, by how many of 255 grey levels
diffusers' drawing differs at most from idgen's, in float32 and from the same noise. `mini` is the
embedded backbone; `sd15` and `sd21` are the real layouts with few channels and random weights, with
`--full-size` at their true widths and 128 pixels a side, written to `--work` (5 GB); a pipeline
folder may be named too. Nothing is trained: each trained weight is moved by half its standard
deviation, seed 1.
"""

import argparse
import json
import tempfile
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml

from idgen.errors import UserError
from idgen.export.exported_run import ExportedRun
from idgen.export.formats import FORMATS
from idgen.export.trained_views import TrainedViews
from idgen.export.verification import StandaloneDrawer, job_of, largest_difference
from idgen.module import PersonalizationModule
from idgen.runs.freezing import ConfigReader
from idgen.shipped import shipped_configs
from tools.full_layouts import LAYOUTS, save_pipeline
from tools.small_layouts import save_layout

CONFIGS = shipped_configs()
BASE = CONFIGS / "base.yaml"
METHODS = [
    BASE,
    *sorted(CONFIGS.glob("method/*.yaml")),
    CONFIGS / "ablation" / "fused_at_inference.yaml",
    CONFIGS / "mechanism" / "exclusion.yaml",
    CONFIGS / "mechanism" / "picture_routing.yaml",
    CONFIGS / "mechanism" / "low_rank_experts.yaml",
]
FUSING = ("fused_at_inference", "picture_routing", "low_rank_experts")
"""Methods that fuse at inference; the last two are made to, which changes what is exported."""

_PROMPTS = ("a [V] {noun} on the beach", "a [V] {noun} in the snow")


def drawn_alike(method: Path) -> str:
    """What decides how a method is exported: its tuning and its conditioning.

    Args:
        method: An overlay of base.yaml, or that itself.
    """
    found: dict[str, Any] = {}
    for path in dict.fromkeys((BASE, method)):
        model = yaml.safe_load(path.read_text(encoding="utf-8"))["model"]
        for key in ("tuning", "conditioning"):
            given, old = model.get(key, {}), found.get(key, {})
            kept = old if given.get("class_path") in (None, old.get("class_path")) else {}
            arguments = {**kept.get("init_args", {}), **given.get("init_args", {})}
            found[key] = {**kept, **given, "init_args": arguments}
    return json.dumps([found, method.stem in FUSING], sort_keys=True)


@cache
def _reader() -> ConfigReader:
    """The parser, which takes seconds to build."""
    return ConfigReader()


def make_run(method: Path, source: str, **settings: Any) -> ExportedRun:
    """A run of a method on a backbone, each trained weight moved.

    Args:
        method: An overlay of base.yaml, or that itself.
        source: Of the backbone.
        **settings: Further keys and values.
    """
    fuses = method.stem in FUSING
    config = _reader().read(
        [str(path) for path in dict.fromkeys((BASE, method))],
        {
            "model.backbone.init_args.source": source,
            "model.sampler.init_args.steps": 2,
            "data.subject.photos": "mini:robot",
            "data.subject.class_noun": "robot" if source == "mini" else "dog",
            **{f"data.{suite}_prompts": '["a [V]"]' for suite in ("predict", "validation", "test")},
            **({"model.conditioning.init_args.fuse_at_inference": "true"} if fuses else {}),
            **settings,
        },
    )
    parts = _reader().build(config).parts
    module: PersonalizationModule = parts.model
    module.configure_model()
    _move(module)
    noun = module.words.class_noun
    prompts = tuple(prompt.format(noun=noun) for prompt in _PROMPTS)
    views = TrainedViews.of(parts.data, module.backbone)
    return ExportedRun(module.eval(), 2, prompts, parts.data.cast, views)


@torch.no_grad()
def _move(module: PersonalizationModule) -> None:
    """Moves every trained weight by a part of its size, as training would."""
    generator = torch.Generator().manual_seed(1)
    for name, weight in module.named_parameters():
        if name in module.trained_shapes:
            size = float(weight.std()) if weight.numel() > 1 else 0.0
            weight.add_((0.5 * size or 0.05) * torch.randn(weight.shape, generator=generator))


def differences(
    run: ExportedRun, drawer: StandaloneDrawer, compared: Collection[str] = tuple(FORMATS)
) -> dict[str, int | None]:
    """The largest differences in grey levels, by the formats that can hold the run.

    Args:
        run: Loaded.
        drawer: Draws from the files.
        compared: Formats that are written and drawn; others are None.
    """
    found: dict[str, int | None] = {}
    for name, form in FORMATS.items():
        try:
            form.check(run.module, reference=False)
        except UserError:
            continue
        if name not in compared:
            found[name] = None
            continue
        with tempfile.TemporaryDirectory() as made, tempfile.TemporaryDirectory() as work:
            written = form.write(run, Path(made), torch.float32)
            theirs = drawer.draw(job_of(run, written, Path(work)))
            found[name] = largest_difference(form.own_drawing(run, written), theirs)
    return found


def _folder(source: str, work: Path, full_size: bool) -> str:
    """The backbone's name; a layout is written first."""
    if source not in LAYOUTS:
        return source
    folder = work / (f"{source}-full" if full_size else source)
    if not folder.exists() and full_size:
        save_pipeline(LAYOUTS[source], folder, "epsilon")
        config = folder / "unet" / "config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), "sample_size": 16}))
    elif not folder.exists():
        save_layout(folder, source)
    return str(folder)


def main(options: Sequence[str] | None = None) -> None:
    """Prints the table, a row as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("sources", nargs="+", help="mini, sd15, sd21, or a pipeline folder")
    parser.add_argument("--full-size", action="store_true", help="sd15 and sd21 at their widths")
    parser.add_argument("--work", type=Path, help="where those are written; for a while if none")
    parser.add_argument("--methods", nargs="*", help="names of configs, such as base; all if none")
    given = parser.parse_args(options)
    chosen = [m for m in METHODS if not given.methods or m.stem in given.methods]
    print(f"| backbone | method | {' | '.join(FORMATS)} |")
    print(f"|---|---|{'---|' * len(FORMATS)}", flush=True)
    with tempfile.TemporaryDirectory() as work, StandaloneDrawer() as drawer:
        for source in given.sources:
            backbone = _folder(source, given.work or Path(work), given.full_size)
            for method in chosen:
                found = differences(make_run(method, backbone), drawer)
                cells = [str(found.get(form, "refused")) for form in FORMATS]
                name = Path(source).name
                print(f"| {name} | {method.stem} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
