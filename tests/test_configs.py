"""Every config in configs/ runs through the real command line."""

import csv
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml

from idgen.cli import main
from tests.backbones.tiny_families import FAMILIES
from tests.tiny import save_pipeline
from tests.workspace import TinyModels, Workspace, make_workspace

CONFIGS = Path(__file__).parents[1] / "configs"
KINDS = ("ablation", "backbone", "mechanism", "method")
OVERLAYS = [path for kind in KINDS for path in sorted(CONFIGS.glob(f"{kind}/*"))]
PUBLISHED = sorted(CONFIGS.glob("published/*"))
LORA = ("unet.", "text_encoder.")
OURS = (*LORA, "conditioning.decoupling.", "conditioning.fusion.")
WITHOUT_TWIN = (
    "transformer.",
    "conditioning.decoupling.",
    "conditioning.fusion.",
    "conditioning.projection.",
)
TRAINED = {
    "lora": LORA,
    "masked_lora": LORA,
    "preserving_lora": LORA,
    "dreambooth": LORA,
    "textual_inversion": ("token_embedding.vector",),
    "custom_diffusion": ("token_embedding.vector", "attn2.to_k.weight", "attn2.to_v.weight"),
    "disenbooth": ("unet.", "conditioning.decoupling."),
    "exclusion": (*LORA, "conditioning.residual."),
    "no_implicit": (*LORA, "conditioning.fusion."),
    "no_ffm": (*LORA, "conditioning.decoupling."),
    "sdxl": ("unet.", "conditioning.decoupling.", "conditioning.fusion."),
    "sd35_medium": WITHOUT_TWIN,
    "flux1_dev": WITHOUT_TWIN,
    "z_image": WITHOUT_TWIN,
    "mini_flow": (*WITHOUT_TWIN, "text_encoder.", "text_encoder_2."),
    "token_entry": (*OURS, "conditioning.entrance.kind"),
}
LOW_RANK = "--model.conditioning.init_args.low_rank=4"
PROJECTED = [LOW_RANK, "--model.conditioning.init_args.image_width=32"]
SMALLER = {
    "sdxl": [LOW_RANK],
    "sd35_medium": [*PROJECTED, "--model.backbone.init_args.t5_tokens=12"],
    "flux1_dev": [
        *PROJECTED,
        "--model.backbone.init_args.t5_tokens=12",
        "--model.backbone.init_args.resolution=16",
    ],
    "mini_flow": [
        "--model.backbone.init_args.t5_tokens=12",
        "--model.conditioning.init_args.image_width=32",
    ],
    "z_image": [
        *PROJECTED,
        "--model.backbone.init_args.text_tokens=40",
        "--model.backbone.init_args.resolution=16",
    ],
}
TrainedWith = Callable[[Path], Path]


def test_base_trains_and_tests_with_the_embedded_models(tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = [
        f"--trainer.default_root_dir={run}",
        f"--data.subject.prepared={tmp_path / 'prepared'}",
        "--trainer.max_steps=2",
        "--trainer.val_check_interval=2",
        "--trainer.num_sanity_val_steps=0",
        "--trainer.accelerator=cpu",
        "--model.sampler.init_args.steps=2",
        '--data.validation_prompts=["a [V] robot in the snow"]',
    ]
    assert main(["fit", f"--config={CONFIGS / 'base.yaml'}", *options]) == 0
    last = run / "checkpoints" / "last.ckpt"
    assert main(["test", f"--ckpt_path={last}", "--data.test_images=1"]) == 0
    metrics = json.loads((run / "test" / "metrics.json").read_text())
    assert metrics["images"] == 25
    for score in ("dino", "clip_i", "clip_t", "leakage", "masked_dino", "masked_clip_i", "copying"):
        assert -1 <= metrics[score] <= 1
    assert 0 <= metrics["identity_accuracy"] <= 1
    assert 0 <= metrics["background_accuracy"] <= 1
    assert metrics["diversity"] is None  # one image a prompt has none


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, tiny_models: TinyModels) -> Workspace:
    """Photos that are prepared once for all overlays; each run has a folder of its own."""
    return make_workspace(tmp_path_factory.mktemp("configs"), tiny_models)


def small(workspace: Workspace, run: Path, *overlays: Path) -> list[str]:
    """Options of a run of overlays over base.yaml, with small models in place of the real ones."""
    models = workspace.models
    segmenter = workspace.settings()["data"]["preparation"]["segmenter"]
    encoder = workspace.settings()["data"]["preparation"]["image_encoder"]
    options = [
        *(f"--config={path}" for path in (CONFIGS / "base.yaml", *overlays)),
        f"--trainer.default_root_dir={run}",
        "--trainer.max_steps=2",
        "--trainer.val_check_interval=2",
        "--trainer.num_sanity_val_steps=0",
        "--trainer.accelerator=cpu",
        f"--model.backbone.init_args.source={source_of(workspace, overlays)}",
        "--model.sampler.init_args.steps=2",
        f"--data.subject.photos={workspace.photos}",
        "--data.subject.class_noun=dog",
        f"--data.subject.prepared={workspace.folder / 'prepared'}",
        f"--data.preparation.segmenter={json.dumps(segmenter)}",
        f"--data.preparation.image_encoder={json.dumps(encoder)}",
        f"--fidelity.clip.init_args.model=local-dir:{models.clip}",
        "--fidelity.clip.init_args.pretrained=null",
        f"--fidelity.dino.init_args.model={models.dino}",
        '--data.validation_prompts=["a [V] dog on the beach"]',
        '--data.test_prompts=["a [V] dog on the beach", "a [V]"]',
        "--data.validation_images=1",
        "--data.test_images=1",
    ]
    options += [option for path in overlays for option in SMALLER.get(path.stem, ())]
    given = [yaml.safe_load(path.read_text()).get("data", {}) for path in overlays]
    data = {key for one in given for key, value in one.items() if value is not None}
    sampler = json.dumps({"class_path": "idgen.sampling.Sampler", "init_args": {"steps": 2}})
    if "prior" in data:
        options += ["--data.prior.count=3", f"--data.prior.sampler={sampler}"]
    if "scenes" in data:
        options += small_scenes(workspace, sampler)
    if "composites" in data:
        options += ["--data.composites.count=3"]
    if "captions" in data:
        # Words that the tiny tokenizer knows; it spells others, and is soon at its end.
        phrases = workspace.folder / "phrases.txt"
        phrases.write_text("on the beach\nin snow\n")
        captioner = "--data.preparation.captioner.init_args"
        options += [f"{captioner}.phrases={phrases}", f"{captioner}.confidence=0"]
        options += [
            f"--data.subject.prepared={workspace.folder / 'captioned'}",
            "--data.captions.dropout=0.5",
        ]
    return options


def source_of(workspace: Workspace, overlays: tuple[Path, ...]) -> Path:
    """A tiny pipeline of the family that the overlays are of."""
    named = {{"mini_flow": "sd35_medium"}.get(path.stem, path.stem) for path in overlays}
    family = next((f for f in FAMILIES if f.name in named), None)
    if family is None:
        return workspace.models.pipeline
    folder = workspace.folder / family.name
    return folder if folder.exists() else family.save(folder)


def small_scenes(workspace: Workspace, sampler: str) -> list[str]:
    """Options for three scene images; pictures have to be as large as photos have to be."""
    pipeline = workspace.folder / "pipeline32"
    if not pipeline.exists():
        save_pipeline(pipeline, side=32)
    return [
        f"--model.backbone.init_args.source={pipeline}",
        f"--data.subject.prepared={workspace.folder / 'prepared32'}",
        '--data.scenes.prompts=["a {class_noun} on the beach", "a {class_noun} in snow"]',
        "--data.scenes.per_prompt=2",
        "--data.scenes.segmenter=idgen.prepare.SamSegmenter",
        f"--data.scenes.sampler={sampler}",
    ]


@pytest.fixture(scope="module")
def trained_with(workspace: Workspace) -> TrainedWith:
    """Of an overlay, the folder of a run that was trained with it, once; not to be changed."""

    @cache
    def run(overlay: Path) -> Path:
        folder = workspace.folder / overlay.parent.name / overlay.stem
        watch = "--trainer.callbacks=tests.watching.WatchWeights"
        assert main(["fit", *small(workspace, folder, overlay), watch]) == 0
        return folder

    return run


def last(run: Path) -> Path:
    return run / "checkpoints" / "last.ckpt"


def weights(run: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(last(run), weights_only=True)["state_dict"]
    return state


def assert_trained(overlay: Path, run: Path) -> None:
    """The checkpoint holds weights of the kinds that the method trains, and no others."""
    kinds = [*TRAINED.get(overlay.stem, OURS)]
    found = {key: [kind for kind in kinds if kind in key] for key in weights(run)}
    assert all(len(of) == 1 for of in found.values()), found
    assert {kind for of in found.values() for kind in of} == set(kinds)


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_overlays_train_with_small_models_in_place_of_the_real_ones(
    overlay: Path, trained_with: TrainedWith
) -> None:
    run = trained_with(overlay)
    assert (run / "validation" / "step-000002.png").exists()
    assert_trained(overlay, run)


def test_backgrounds_by_the_mini_backbone(tmp_path: Path) -> None:
    """The overlay prepares a subject of the mini world; scores go on taking OpenCV's."""
    overlay = CONFIGS / "backgrounds" / "backbone_mini.yaml"
    fewer = [f"--preparation.inpainter.init_args.{key}" for key in ("steps=2", "samples=1")]
    configs = [f"--config={CONFIGS / 'base.yaml'}", f"--config={overlay}"]
    assert main(["prepare", *configs, *fewer, f"--output={tmp_path}"]) == 0
    (output,) = tmp_path.iterdir()
    assert len(list((output / "backgrounds").glob("*.png"))) == 5
    held = yaml.safe_load(overlay.read_text())
    assert held["fidelity"]["inpainter"]["class_path"] == "idgen.prepare.OpenCVInpainter"


@pytest.mark.parametrize("overlay", PUBLISHED, ids=lambda path: path.stem)
def test_published_rates_go_over_a_backbone_and_their_method(
    overlay: Path, workspace: Workspace, tmp_path: Path
) -> None:
    method = CONFIGS / "method" / overlay.name
    backbone = CONFIGS / "backbone" / "sd15.yaml"
    options = small(workspace, tmp_path / "run", backbone, method, overlay)
    assert main(["fit", *options, "--data.batch_size=2"]) == 0
    assert_trained(method, tmp_path / "run")


def test_every_overlay_has_a_folder_of_its_own() -> None:
    configs = [CONFIGS / "base.yaml", *OVERLAYS]
    folders = [yaml.safe_load(c.read_text())["trainer"]["default_root_dir"] for c in configs]
    assert len(set(folders)) == len(folders)


@pytest.mark.parametrize("method", ["textual_inversion", "custom_diffusion"])
def test_a_new_token_is_drawn_from_the_checkpoint_alone(
    method: str, trained_with: TrainedWith, tmp_path: Path
) -> None:
    run = trained_with(CONFIGS / "method" / f"{method}.yaml")
    assert main(["test", f"--ckpt_path={last(run)}", f"--drawings.output={tmp_path}/test"]) == 0
    metrics = json.loads((tmp_path / "test" / "metrics.json").read_text())
    assert metrics["images"] == 2
    assert "TokenTuning" in metrics["method"]
    rows = list(csv.DictReader((tmp_path / "test" / "images.csv").open()))
    assert [row["prompt"] for row in rows] == ["a <new1> dog on the beach", "a <new1>"]
    assert [row["plain_prompt"] for row in rows] == ["a dog on the beach", "a"]


@pytest.mark.parametrize("name", ["method/custom_diffusion", "mechanism/captions"])
def test_resuming_equals_never_having_stopped(
    name: str, workspace: Workspace, trained_with: TrainedWith, tmp_path: Path
) -> None:
    overlay, stopped = CONFIGS / f"{name}.yaml", tmp_path / "stopped"
    whole = weights(trained_with(overlay))
    assert main(["fit", *small(workspace, stopped, overlay), "--trainer.max_steps=1"]) == 0
    half = weights(stopped)
    assert main(["fit", f"--ckpt_path={last(stopped)}", "--trainer.max_steps=2"]) == 0
    resumed = weights(stopped)
    assert whole.keys() == half.keys() == resumed.keys()
    for key, value in whole.items():
        assert torch.equal(value, resumed[key]), key
        assert not torch.equal(value, half[key]), key


def test_noise_that_fades_goes_on_where_it_was(
    workspace: Workspace, trained_with: TrainedWith, tmp_path: Path
) -> None:
    overlay, stopped = CONFIGS / "mechanism" / "fading_background.yaml", tmp_path / "stopped"
    whole = weights(trained_with(overlay))
    signalled = ["--trainer.callbacks=tests.signalling.SignalItself", "--trainer.callbacks.step=1"]
    assert main(["fit", *small(workspace, stopped, overlay), *signalled]) == 143
    half = weights(stopped)
    assert main(["fit", f"--ckpt_path={last(stopped)}", "--trainer.callbacks=null"]) == 0
    resumed = weights(stopped)
    for key, value in whole.items():
        assert torch.equal(value, resumed[key]), key
    assert any(not torch.equal(value, half[key]) for key, value in whole.items())


def test_class_images_are_drawn_once(
    workspace: Workspace, trained_with: TrainedWith, tmp_path: Path
) -> None:
    overlay = CONFIGS / "method" / "dreambooth.yaml"
    trained_with(overlay)
    folder = workspace.folder / "class_images"
    assert {len(list(of_one_kind.glob("*.png"))) for of_one_kind in folder.iterdir()} == {3}
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")}
    assert main(["fit", *small(workspace, tmp_path / "again", overlay)]) == 0
    assert times == {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")}
