"""Every method in every format that can hold it, drawn by diffusers in a process without idgen."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from idgen.backbones import StableDiffusionBackbone
from idgen.errors import UserError
from idgen.export.exported_run import ExportedRun
from idgen.export.format import Written
from idgen.export.formats import FORMATS
from idgen.export.merged_format import draw_as_backbone
from idgen.export.verification import StandaloneDrawer, job_of, largest_difference
from tools.exports import CONFIGS, FUSING, METHODS, differences, drawn_alike, make_run
from tools.small_layouts import LAYOUTS, save_layout

# Every method with every backbone in every format: python -m tools.exports mini sd15 sd21.
TRIED = {
    ("mini", "base"): ("diffusers",),
    ("sd15", "lora"): ("diffusers", "kohya"),
    ("sd15", "textual_inversion"): ("kohya",),
    ("sd15", "fused_at_inference"): ("fusion",),
    ("sd21", "base"): ("diffusers", "kohya", "merged", "embeddings"),
    ("sd21", "custom_diffusion"): ("diffusers", "merged"),
    ("sd21", "disenbooth"): ("merged",),
    ("sd21", "picture_routing"): ("embeddings", "fusion"),
}
BY_NAME = {method.stem: method for method in METHODS}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The backbones by name."""
    folder = tmp_path_factory.mktemp("layouts")
    return {"mini": "mini", **{n: str(save_layout(folder / n, n)) for n in LAYOUTS}}


def written(run: ExportedRun, name: str, folder: Path, dtype: torch.dtype) -> Written:
    folder.mkdir()
    return FORMATS[name].write(run, folder, dtype)


def difference(
    run: ExportedRun, name: str, made: Written, drawer: StandaloneDrawer, work: Path
) -> int:
    work.mkdir()
    theirs = drawer.draw(job_of(run, made, work))
    return largest_difference(FORMATS[name].own_drawing(run, made), theirs)


def test_every_method_is_tried_or_exported_as_one_that_is() -> None:
    tried = {name for _, name in TRIED}
    alike = {drawn_alike(method) for method in METHODS if method.stem in tried}
    left = [method.stem for method in METHODS if drawn_alike(method) not in alike]
    # Their parts are compared with idgen's by themselves, in test_fusion; the first draws as lora.
    assert left == ["exclusion", "low_rank_experts"]


@pytest.mark.parametrize(("source", "method"), TRIED)
def test_diffusers_draws_what_idgen_draws(
    source: str, method: str, sources: dict[str, str], drawer: StandaloneDrawer
) -> None:
    run = make_run(BY_NAME[method], sources[source])
    compared = TRIED[source, method]
    found = differences(run, drawer, compared)
    for name in FORMATS:
        can_hold = name == "embeddings" or (name == "fusion") == (method in FUSING)
        assert (name in found) == can_hold, name
        assert (name in compared) == isinstance(found.get(name), int), name
        assert (found.get(name) or 0) <= 1, name
    if run.trained.word is None:
        # The comparison would notice files without effect.
        bare = draw_as_backbone(run, StableDiffusionBackbone(sources[source]))
        assert largest_difference(run.draw(), bare) > 1


@pytest.mark.parametrize(
    ("name", "method", "dtype"),
    [
        ("kohya", "custom_diffusion", torch.float16),
        ("merged", "lora", torch.float16),
        ("embeddings", "lora", torch.bfloat16),
    ],
    ids=str,
)
def test_half_precision_is_compared_with_weights_that_are_rounded_alike(
    name: str,
    method: str,
    dtype: torch.dtype,
    sources: dict[str, str],
    drawer: StandaloneDrawer,
    tmp_path: Path,
) -> None:
    run = make_run(CONFIGS / "method" / f"{method}.yaml", sources["sd15"])
    made = written(run, name, tmp_path / name, dtype)
    for path in tmp_path.joinpath(name).rglob("*.safetensors"):
        held = load_file(path)
        assert {v.dtype for k, v in held.items() if not k.endswith(".alpha")} == {dtype}
    # States that were rounded move the drawing, others do not.
    most = 8 if name == "embeddings" else 1
    assert difference(run, name, made, drawer, tmp_path / "work") <= most


def test_an_alpha_other_than_the_rank_is_kept(
    sources: dict[str, str], drawer: StandaloneDrawer, tmp_path: Path
) -> None:
    settings = {"model.tuning.init_args.alpha": 2.5, "model.tuning.init_args.text_rank": 3}
    run = make_run(CONFIGS / "method" / "lora.yaml", sources["sd21"], **settings)
    assert {update.alpha for update in run.trained.denoiser.low_rank} == {2.5}
    assert {update.rank for update in run.trained.text.low_rank} == {3}
    for name in ("diffusers", "kohya"):
        made = written(run, name, tmp_path / name, torch.float32)
        assert difference(run, name, made, drawer, tmp_path / f"work-{name}") <= 1


def test_dora_is_exported_exactly(
    sources: dict[str, str], drawer: StandaloneDrawer, tmp_path: Path
) -> None:
    settings = {"model.tuning.init_args.dora": True, "model.tuning.init_args.alpha": 2.5}
    run = make_run(CONFIGS / "base.yaml", sources["sd15"], **settings)
    every = (*run.trained.denoiser.low_rank, *run.trained.text.low_rank)
    assert {update.down.ndim for update in every} == {2, 4}
    assert all(update.magnitude is not None for update in every)
    for name in ("diffusers", "merged"):
        made = written(run, name, tmp_path / name, torch.float32)
        assert difference(run, name, made, drawer, tmp_path / f"work-{name}") <= 1


@pytest.mark.parametrize(("solver", "stochastic"), [("heun", False), ("ddim", True)])
def test_each_solver_is_drawn_alike(
    solver: str,
    stochastic: bool,
    sources: dict[str, str],
    drawer: StandaloneDrawer,
    tmp_path: Path,
) -> None:
    sampler = "model.sampler.init_args"
    settings = {f"{sampler}.solver": solver, f"{sampler}.stochastic": stochastic}
    size = {f"{sampler}.size": [24, 16]} if solver == "heun" else {}
    run = make_run(CONFIGS / "method" / "lora.yaml", sources["sd15"], **settings, **size)
    assert run.draw().shape[2] == (24 if size else 16)
    made = written(run, "diffusers", tmp_path / "made", torch.float32)
    assert difference(run, "diffusers", made, drawer, tmp_path / "work") <= 1


@pytest.mark.parametrize("name", ["diffusers", "merged"])
def test_a_word_that_the_vocabulary_has_is_exported_under_another_name(
    name: str, sources: dict[str, str], drawer: StandaloneDrawer, tmp_path: Path
) -> None:
    method = CONFIGS / "method" / "textual_inversion.yaml"
    run = make_run(method, sources["sd15"], **{"data.subject.token": "sks"})
    made = written(run, name, tmp_path / name, torch.float32)
    assert made.word == ("sks" if name == "merged" else "<sks>")
    assert difference(run, name, made, drawer, tmp_path / "work") <= 1


def test_idgen_takes_a_merged_folder_as_a_backbone(sources: dict[str, str], tmp_path: Path) -> None:
    run = make_run(CONFIGS / "method" / "custom_diffusion.yaml", sources["sd21"])
    made = written(run, "merged", tmp_path / "merged", torch.float32)
    assert made.base is not None
    assert run.word == "<new1>"
    backbone = StableDiffusionBackbone(str(made.base))
    backbone.check()
    assert backbone.word_ids("<new1>") == backbone.add_word("<new1>")
    assert largest_difference(run.draw(), draw_as_backbone(run, backbone)) <= 1


def test_embeddings_hold_every_prompt(sources: dict[str, str], tmp_path: Path) -> None:
    run = make_run(CONFIGS / "ablation" / "fused_at_inference.yaml", sources["sd15"])
    made = written(run, "embeddings", tmp_path / "embeddings", torch.float32)
    assert made.embeds is not None
    states = load_file(made.embeds)
    assert set(states) == {"prompt_embeds", "negative_prompt_embeds"}
    torch.testing.assert_close(
        states["prompt_embeds"], run.conditions(run.prompts).states, atol=1e-5, rtol=1e-5
    )
    with safe_open(made.embeds, "pt") as file:
        assert file.metadata()["prompts"] == '["a sks dog on the beach", "a sks dog in the snow"]'


def test_what_lora_cannot_hold_is_refused_by_name(sources: dict[str, str], tmp_path: Path) -> None:
    layers = json.dumps(
        {"class_path": "idgen.models.tuning.LayerTuning", "init_args": {"targets": ["conv1"]}}
    )
    run = make_run(CONFIGS / "method" / "lora.yaml", sources["sd15"], **{"model.tuning": layers})
    with pytest.raises(UserError, match=r"conv1.bias was trained in full.*--format merged"):
        written(run, "kohya", tmp_path / "kohya", torch.float32)
    made = written(run, "merged", tmp_path / "merged", torch.float32)
    assert made.base is not None
    merged = draw_as_backbone(run, StableDiffusionBackbone(str(made.base)))
    assert largest_difference(run.draw(), merged) <= 1
