"""Every config in configs/ runs through the real command line."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import yaml

from idgen.cli import main
from tests.workspace import TinyModels, Workspace

CONFIGS = Path(__file__).parents[1] / "configs"
BENCHMARKS = sorted(CONFIGS.glob("benchmark/*.yaml"))
OVERLAYS = sorted(path for path in CONFIGS.glob("*/*.yaml") if path not in BENCHMARKS)


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


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda path: path.stem)
def test_benchmarks_are_planned_and_reported_with_small_models(
    benchmark: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(CONFIGS.parent)  # configs are named from there
    given = workspace.settings()
    data = {key: given["data"][key] for key in ("preparation",)}
    data["preparation"]["segmenter"] = {"class_path": "idgen.prepare.GrabCutSegmenter"}
    small = {"model": {"backbone": given["model"]["backbone"]}, "data": data}
    small |= {"fidelity": given["fidelity"]}
    (workspace.folder / "small.yaml").write_text(yaml.safe_dump(small))
    options = [f'--configs=["configs/base.yaml", "{workspace.folder / "small.yaml"}"]']
    output = workspace.folder / "out"
    if benchmark.stem == "dreambench":
        subject = workspace.folder / "dreambooth" / "dog6"
        shutil.copytree(workspace.photos, subject)
        words = ["dog6,dog", "# live", "a {0} {1} in the snow"]
        (subject.parent / "prompts_and_classes.txt").write_text("\n".join(words))
        options += [f"--dreambench.folder={subject.parent}"]
    command = ["benchmark", f"--config={benchmark}", f"--output={output}", *options]
    assert main([*command, "--only_report=true"]) == 0
    config = yaml.safe_load(benchmark.read_text())
    rows = list(csv.DictReader((output / "results.csv").open()))
    assert {row["method"] for row in rows} == set(config["methods"])
    subjects = max(1, len(config.get("subjects", [])))
    assert len(rows) == len(config["methods"]) * subjects
    assert {row["status"] for row in rows} == {"missing"}
