"""Every family through the real command line: the same tests for all, one run each."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from idgen.cli import main
from idgen.export.verification import StandaloneDrawer
from tests.backbones.tiny_families import FAMILIES, Family
from tests.commands.test_processes import DDP
from tests.workspace import TinyModels, Workspace, make_workspace, run_idgen

every = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
Trained = Callable[[Family], Workspace]


@pytest.fixture(scope="module")
def trained_on(tmp_path_factory: pytest.TempPathFactory, tiny_models: TinyModels) -> Trained:
    """Of a family, a workspace with a run of four steps, and a checkpoint of three."""

    @cache
    def made(family: Family) -> Workspace:
        workspace = make_workspace(tmp_path_factory.mktemp(family.name), tiny_models)
        source = family.save(workspace.folder / "pipeline")
        workspace.write(changed(workspace.settings(), family, source))
        half = {"every_n_train_steps": 3, "dirpath": str(workspace.folder / "half")}
        callback = {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": half}
        assert workspace.fit(f"--trainer.callbacks+={json.dumps(callback)}") == 0
        return workspace

    return made


def changed(settings: dict[str, Any], family: Family, source: Path) -> dict[str, Any]:
    """The tiny settings with another family, its photos shown as they are and mirrored."""
    settings["trainer"]["val_check_interval"] = 4
    model = settings["model"]
    model["backbone"] = {
        "class_path": f"idgen.backbones.{family.backbone}",
        "init_args": {"source": str(source), **family.settings},
    }
    model["tuning"]["init_args"] |= family.tuning
    model["conditioning"]["init_args"] |= family.conditioning
    model["sampler"]["init_args"]["guidance"] = family.guidance
    return settings


def weights(last: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(last, weights_only=True)["state_dict"]
    return state


@every
def test_a_fit_validates_draws_and_changes_all_that_it_trains(
    family: Family, trained_on: Trained
) -> None:
    workspace = trained_on(family)
    assert (workspace.run / "validation" / "step-000004.png").exists()
    state = weights(workspace.last)
    assert all(value.isfinite().all() for value in state.values())
    parts = {name.split(".")[1] for name in state if name.startswith("backbone.")}
    encoders = family.tuning.get("text_rank", 4) > 0
    assert any(part in parts for part in ("unet", "transformer"))
    assert any(part.startswith("text_encoder") for part in parts) is encoders
    # B of LoRA is 0 at the start.
    assert all(v.any() for name, v in state.items() if ".lora_B." in name and moves(name))
    projected = "image_width" in family.conditioning
    assert ("conditioning.projection.weight" in state) is projected
    if projected:
        assert state["conditioning.projection.weight"].shape[1] == 32


def moves(name: str) -> bool:
    """Whether a layer has a gradient: what follows the last states that are read has none."""
    return "text_encoder" not in name and "context_" not in name


@every
def test_resuming_equals_never_having_stopped(
    family: Family, trained_on: Trained, tmp_path: Path
) -> None:
    whole, run = trained_on(family), tmp_path / "run"
    [stopped] = whole.folder.glob("half/*.ckpt")
    half = weights(stopped)
    assert main(["fit", f"--ckpt_path={stopped}", f"--trainer.default_root_dir={run}"]) == 0
    resumed, expected = weights(run / "checkpoints" / "last.ckpt"), weights(whole.last)
    assert resumed.keys() == expected.keys() == half.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in expected.items())
    assert any(not torch.equal(value, half[name]) for name, value in expected.items())


@every
def test_its_checkpoint_is_tested_and_drawn_from(
    family: Family, trained_on: Trained, tmp_path: Path
) -> None:
    last = trained_on(family).last
    assert main(["test", f"--ckpt_path={last}", f"--drawings.output={tmp_path / 'test'}"]) == 0
    metrics = json.loads((tmp_path / "test" / "metrics.json").read_text())
    assert metrics["images"] == 6
    assert -1 <= metrics["dino"] <= 1
    out = tmp_path / "drawn"
    command = ["sample", str(last), "a [V] dog on the beach", "--out", str(out), "--steps=2"]
    assert main(command) == 0
    assert list((out / "images").rglob("*.png"))


@pytest.fixture
def one_process(drawer: StandaloneDrawer, monkeypatch: pytest.MonkeyPatch) -> None:
    """All exports are drawn by one process."""
    monkeypatch.setattr(StandaloneDrawer, "__enter__", lambda self: drawer)


@every
@pytest.mark.usefixtures("one_process")
def test_diffusers_draws_from_an_export_what_idgen_draws(
    family: Family, trained_on: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last, out = str(trained_on(family).last), tmp_path / "out"
    command = ["export", last, "--output", str(out), "--samples=0", "--format"]
    assert main([*command, "merged"]) == 2
    assert f"{family.backbone}; --format merged is for Stable" in capsys.readouterr().err
    assert main([*command, "diffusers"]) == 0
    assert "at most 0 of" in (said := capsys.readouterr().out) or "at most 1 of" in said
    index = json.loads((trained_on(family).folder / "pipeline" / "model_index.json").read_text())
    card = (out / "README.md").read_text()
    assert f"{index['_class_name']}.from_pretrained(" in card
    assert (out / "pytorch_lora_weights.safetensors").exists()
    base = f"--backbone={trained_on(family).folder / 'pipeline'}"
    assert main(["sample", str(out), "a [V] dog", base, f"--out={tmp_path / 'no'}"]) == 2
    assert f"is an export for a {family.backbone}; idgen draws with" in capsys.readouterr().err


# Diffusers' reader knows the published size of FLUX.1 alone: see tests/export/test_kohya_names.py.
KOHYA = {
    "sdxl": "",
    "flux1_dev": "diffusers cannot draw from the written files",
    "sd35_medium": "writes files for Stable Diffusion 1.x, 2.x, XL and FLUX.1 alone",
    "z_image": "writes files for Stable Diffusion 1.x, 2.x, XL and FLUX.1 alone",
}


@every
@pytest.mark.usefixtures("one_process")
def test_kohyas_files_are_those_that_diffusers_reads_back(
    family: Family, trained_on: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last, out = str(trained_on(family).last), tmp_path / "out"
    code = main(["export", last, "--output", str(out), "--samples=0", "--format", "kohya"])
    said, reason = capsys.readouterr(), KOHYA[family.name]
    assert code == (2 if reason else 0)
    assert reason in said.err
    assert out.exists() is not bool(reason)
    if reason:
        return
    assert "at most 0 of" in said.out or "at most 1 of" in said.out
    names = set(load_file(out / "sks_dog.safetensors"))
    heads = {name.partition("_text_model")[0].partition("_input_blocks")[0] for name in names}
    assert {"lora_te1", "lora_te2", "lora_unet"} <= heads
    assert "Lay `sks_dog.safetensors` in `models/loras/`" in (out / "README.md").read_text()


@every
def test_a_bare_folder_is_drawn_with(family: Family, trained_on: Trained, tmp_path: Path) -> None:
    pipeline, out = trained_on(family).folder / "pipeline", tmp_path / "out"
    options = ["--steps=2", "--size=16", "-n=1", f"--out={out}"]
    assert main(["sample", str(pipeline), "a [V] dog", *options]) == 0
    assert len(list((out / "images").rglob("*.png"))) == 1


def test_two_processes_train_the_same_weights(trained_on: Trained) -> None:
    """Of the family that trains layers in several text encoders, of which some get no gradient."""
    workspace = trained_on(max(FAMILIES, key=lambda f: len(f.tuning.get("text_encoders", ()))))
    ended = run_idgen(
        "fit",
        f"--config={workspace.config}",
        *DDP,
        f"--trainer.default_root_dir={workspace.folder / 'two'}",
        "--trainer.max_steps=2",
        "--trainer.limit_val_batches=0",
        "--trainer.callbacks+=tests.signalling.RecordParameters",
        f"--trainer.callbacks.folder={workspace.folder}",
    )
    assert ended.returncode == 0, ended.stderr
    records = [json.loads((workspace.folder / f"rank-{n}.json").read_text()) for n in (0, 1)]
    assert records[0] == records[1]
    assert records[0]["step"] == 2


@every
def test_a_printed_config_is_complete(
    family: Family, trained_on: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fit", f"--config={trained_on(family).config}", "--print_config"])
    assert ended.value.code in (None, 0)
    printed = yaml.safe_load(capsys.readouterr().out)
    backbone = printed["model"]["backbone"]
    assert backbone["class_path"].endswith(family.backbone)
    assert "revision" in backbone["init_args"]


@every
def test_an_image_encoder_of_another_width_needs_a_projection(
    family: Family, trained_on: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.tiny import save_open_clip

    encoder = save_open_clip(tmp_path / "encoder", width=24)
    wide = f"--data.preparation.image_encoder.init_args.model=local-dir:{encoder}"
    assert trained_on(family).fit(wide, f"--trainer.default_root_dir={tmp_path / 'run'}") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "have width 24, the conditioning takes 32" in error
    assert "learnt projection" in error
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("one_process")
def test_what_a_run_leaves_out_an_export_is_drawn_without(
    tiny_models: TinyModels, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [sd3] = [family for family in FAMILIES if family.name == "sd35_medium"]
    without = replace(sd3, settings={**sd3.settings, "t5": False})
    workspace = make_workspace(tmp_path / "sd3", tiny_models)
    source = without.save(tmp_path / "pipeline")
    workspace.write(changed(workspace.settings(), without, source))
    assert workspace.fit("--trainer.max_steps=1", "--trainer.limit_val_batches=0") == 0
    out = tmp_path / "out"
    options = ["--format=diffusers", f"--output={out}", "--samples=0"]
    assert main(["export", str(workspace.run), *options]) == 0
    assert "at most 0 of" in (said := capsys.readouterr().out) or "at most 1 of" in said
    assert ", text_encoder_3=None, tokenizer_3=None)" in (out / "README.md").read_text()
