"""Every config in configs/ runs through the real command line."""

import json
from pathlib import Path

import pytest

from idgen.cli import main
from tests.workspace import TinyModels, Workspace

CONFIGS = Path(__file__).parents[1] / "configs"
OVERLAYS = [p for f in ("ablation", "backbone", "method") for p in sorted(CONFIGS.glob(f"{f}/*"))]


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
    assert {"dino", "clip_i", "clip_t"} <= metrics.keys()


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.stem)
def test_overlays_train_with_small_models_in_place_of_the_real_ones(
    overlay: Path, workspace: Workspace, tiny_models: TinyModels
) -> None:
    segmenter = workspace.settings()["data"]["preparation"]["segmenter"]
    options = [
        f"--trainer.default_root_dir={workspace.run}",
        "--trainer.max_steps=2",
        "--trainer.val_check_interval=2",
        "--trainer.num_sanity_val_steps=0",
        "--trainer.accelerator=cpu",
        f"--model.backbone.init_args.source={tiny_models.pipeline}",
        "--model.sampler.init_args.steps=2",
        f"--data.subject.photos={workspace.photos}",
        "--data.subject.class_noun=dog",
        f"--data.subject.prepared={workspace.folder / 'prepared'}",
        f"--data.preparation.segmenter={json.dumps(segmenter)}",
        f"--data.preparation.image_encoder.init_args.model=local-dir:{tiny_models.encoder}",
        "--data.preparation.image_encoder.init_args.pretrained=null",
        f"--fidelity.clip.init_args.model=local-dir:{tiny_models.clip}",
        "--fidelity.clip.init_args.pretrained=null",
        f"--fidelity.dino.init_args.model={tiny_models.dino}",
        "--data.validation_images=1",
    ]
    configs = [f"--config={CONFIGS / 'base.yaml'}", f"--config={overlay}"]
    assert main(["fit", *configs, *options]) == 0
    assert (workspace.run / "validation" / "step-000002.png").exists()
