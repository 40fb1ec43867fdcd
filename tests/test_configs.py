"""Every config in configs/ runs through the real command line."""

import csv
import json
from pathlib import Path

import pytest
import torch
import yaml

from idgen.cli import main
from tests.workspace import Workspace

CONFIGS = Path(__file__).parents[1] / "configs"
OVERLAYS = [p for f in ("ablation", "backbone", "method") for p in sorted(CONFIGS.glob(f"{f}/*"))]
PUBLISHED = sorted(CONFIGS.glob("published/*"))
LORA = ("unet.", "text_encoder.")
OURS = (*LORA, "conditioning.decoupling.", "conditioning.fusion.")
TRAINED = {
    "lora": LORA,
    "dreambooth": LORA,
    "textual_inversion": ("token_embedding.vector",),
    "custom_diffusion": ("token_embedding.vector", "attn2.to_k.weight", "attn2.to_v.weight"),
    "disenbooth": ("unet.", "conditioning.decoupling."),
    "no_implicit": (*LORA, "conditioning.fusion."),
    "no_ffm": (*LORA, "conditioning.decoupling."),
}


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


def small(workspace: Workspace, *overlays: Path) -> list[str]:
    """Options of a run of overlays over base.yaml, with small models in place of the real ones."""
    models = workspace.models
    segmenter = workspace.settings()["data"]["preparation"]["segmenter"]
    options = [
        *(f"--config={path}" for path in (CONFIGS / "base.yaml", *overlays)),
        f"--trainer.default_root_dir={workspace.run}",
        "--trainer.max_steps=2",
        "--trainer.val_check_interval=2",
        "--trainer.num_sanity_val_steps=0",
        "--trainer.accelerator=cpu",
        f"--model.backbone.init_args.source={models.pipeline}",
        "--model.sampler.init_args.steps=2",
        f"--data.subject.photos={workspace.photos}",
        "--data.subject.class_noun=dog",
        f"--data.subject.prepared={workspace.folder / 'prepared'}",
        f"--data.preparation.segmenter={json.dumps(segmenter)}",
        f"--data.preparation.image_encoder.init_args.model=local-dir:{models.encoder}",
        "--data.preparation.image_encoder.init_args.pretrained=null",
        f"--fidelity.clip.init_args.model=local-dir:{models.clip}",
        "--fidelity.clip.init_args.pretrained=null",
        f"--fidelity.dino.init_args.model={models.dino}",
        '--data.validation_prompts=["a [V] dog on the beach"]',
        "--data.validation_images=1",
        "--data.test_images=1",
    ]
    if any("prior" in yaml.safe_load(path.read_text()).get("data", {}) for path in overlays):
        sampler = {"class_path": "idgen.sampling.Sampler", "init_args": {"steps": 2}}
        options += ["--data.prior.count=3", f"--data.prior.sampler={json.dumps(sampler)}"]
    return options


def weights(path: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


def assert_trained(overlay: Path, workspace: Workspace) -> None:
    """The checkpoint holds weights of the kinds that the method trains, and no others."""
    kinds = [*TRAINED.get(overlay.stem, OURS)]
    found = {key: [kind for kind in kinds if kind in key] for key in weights(workspace.last)}
    assert all(len(of) == 1 for of in found.values()), found
    assert {kind for of in found.values() for kind in of} == set(kinds)


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_overlays_train_with_small_models_in_place_of_the_real_ones(
    overlay: Path, workspace: Workspace
) -> None:
    watch = "--trainer.callbacks=tests.watching.WatchWeights"
    assert main(["fit", *small(workspace, overlay), watch]) == 0
    assert (workspace.run / "validation" / "step-000002.png").exists()
    assert_trained(overlay, workspace)


@pytest.mark.parametrize("overlay", PUBLISHED, ids=lambda path: path.stem)
def test_published_rates_go_over_a_backbone_and_their_method(
    overlay: Path, workspace: Workspace
) -> None:
    method = CONFIGS / "method" / overlay.name
    backbone = CONFIGS / "backbone" / "sd15.yaml"
    options = small(workspace, backbone, method, overlay)
    assert main(["fit", *options, "--data.batch_size=2"]) == 0
    assert_trained(method, workspace)


def test_every_overlay_has_a_folder_of_its_own() -> None:
    configs = [CONFIGS / "base.yaml", *OVERLAYS]
    folders = [yaml.safe_load(c.read_text())["trainer"]["default_root_dir"] for c in configs]
    assert len(set(folders)) == len(folders)


@pytest.mark.parametrize("method", ["textual_inversion", "custom_diffusion"])
def test_a_new_token_is_drawn_from_the_checkpoint_alone(method: str, workspace: Workspace) -> None:
    overlay = CONFIGS / "method" / f"{method}.yaml"
    prompts = '--data.test_prompts=["a [V] dog on the beach", "a [V]"]'
    assert main(["fit", *small(workspace, overlay), prompts]) == 0
    assert main(["test", f"--ckpt_path={workspace.last}"]) == 0
    metrics = json.loads((workspace.run / "test" / "metrics.json").read_text())
    assert metrics["images"] == 2
    assert "TokenTuning" in metrics["method"]
    rows = list(csv.DictReader((workspace.run / "test" / "images.csv").open()))
    assert [row["prompt"] for row in rows] == ["a <new1> dog on the beach", "a <new1>"]
    assert [row["plain_prompt"] for row in rows] == ["a dog on the beach", "a"]


def test_resuming_a_token_layers_and_a_prior_equals_never_having_stopped(
    workspace: Workspace, tmp_path: Path
) -> None:
    options = small(workspace, CONFIGS / "method" / "custom_diffusion.yaml")
    assert main(["fit", *options]) == 0
    whole = weights(workspace.last)
    folder = tmp_path / "stopped"
    root = f"--trainer.default_root_dir={folder}"
    assert main(["fit", *options, root, "--trainer.max_steps=1"]) == 0
    last = folder / "checkpoints" / "last.ckpt"
    half = weights(last)
    assert main(["fit", f"--ckpt_path={last}", "--trainer.max_steps=2"]) == 0
    resumed = weights(last)
    assert whole.keys() == half.keys() == resumed.keys()
    for key, value in whole.items():
        assert torch.equal(value, resumed[key]), key
        assert not torch.equal(value, half[key]), key


def test_class_images_are_drawn_once(workspace: Workspace, tmp_path: Path) -> None:
    options = small(workspace, CONFIGS / "method" / "dreambooth.yaml")
    assert main(["fit", *options]) == 0
    (folder,) = (workspace.folder / "class_images").iterdir()
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len([path for path in times if path.suffix == ".png"]) == 3
    assert main(["fit", *options, f"--trainer.default_root_dir={tmp_path / 'again'}"]) == 0
    assert times == {path: path.stat().st_mtime_ns for path in folder.iterdir()}
