"""Broken set-ups, and what the doctor says of each."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from jsonargparse import Namespace
from packaging.requirements import Requirement

from idgen.cli import main
from idgen.doctor import examination
from idgen.doctor.examination import Examination, examine
from idgen.doctor.finding import Findings, State
from idgen.doctor.memory import MemoryNeeded
from idgen.doctor.surroundings import in_words, unmet
from idgen.runs.sharding import is_sharded
from tests.workspace import TinyModels, Workspace, make_workspace

BACKBONE = "model.backbone.init_args.source"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_models: TinyModels) -> Workspace:
    """A set-up that works, prepared; not to be changed."""
    workspace = make_workspace(tmp_path_factory.mktemp("doctor"), tiny_models)
    assert main(["prepare", "--config", str(workspace.config)]) == 0
    return workspace


def said(workspace: Workspace, settings: dict[str, Any], trial: bool = False) -> Findings:
    return examine([str(workspace.config)], settings, trial)


def failing(findings: Findings) -> str:
    """The only thing that fails, and that training was not tried then."""
    assert len(findings.failed) == 1, [finding.says for finding in findings.failed]
    return f"{findings.failed[0].what}: {findings.failed[0].says}"


def lines(findings: Findings, what: str) -> list[str]:
    return [finding.says for finding in findings.lines if finding.what == what]


def without_unet(workspace: Workspace, folder: Path) -> dict[str, Any]:
    shutil.copytree(workspace.models.pipeline, folder / "pipeline")
    (folder / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    return {BACKBONE: str(folder / "pipeline")}


def of_an_unknown_prediction(workspace: Workspace, folder: Path) -> dict[str, Any]:
    shutil.copytree(workspace.models.pipeline, folder / "pipeline")
    path = folder / "pipeline" / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"prediction_type": "velocity"}))
    return {BACKBONE: str(folder / "pipeline")}


def without_photos(workspace: Workspace, folder: Path) -> dict[str, Any]:
    (folder / "photos").mkdir()
    return {"data.subject.photos": str(folder / "photos")}


def with_a_broken_photo(workspace: Workspace, folder: Path) -> dict[str, Any]:
    shutil.copytree(workspace.photos, folder / "photos")
    (folder / "photos" / "1.png").write_bytes(b"no picture")
    return {"data.subject.photos": str(folder / "photos")}


def in_a_file(workspace: Workspace, folder: Path) -> dict[str, Any]:
    (folder / "runs").write_text("a file")
    return {"trainer.default_root_dir": str(folder / "runs")}


def with_a_gpu(workspace: Workspace, folder: Path) -> dict[str, Any]:
    return {"trainer.accelerator": "gpu"}


BROKEN: dict[str, tuple[Callable[[Workspace, Path], dict[str, Any]], str]] = {
    "no weights": (without_unet, "backbone: --model.backbone.init_args.source: the weights"),
    "no prediction type": (of_an_unknown_prediction, "prediction_type 'velocity'; one of epsilon"),
    "no photos": (without_photos, "photos: "),
    "a broken photo": (with_a_broken_photo, "1.png"),
    "a folder that is a file": (in_a_file, "is no folder; change --trainer.default_root_dir"),
    "no GPU": (with_a_gpu, "device: --trainer.accelerator: gpu: there is no GPU"),
    "a misspelled key": (lambda w, f: {"data.batch_sise": 2}, "did you mean 'data.batch_size'"),
    "no DINO": (lambda w, f: {"fidelity.dino.init_args.model": "/no/dino"}, "scores: "),
    "half precision": (
        lambda w, f: {"trainer.precision": "bf16-true"},
        "--trainer.precision bf16-true casts what is trained too",
    ),
    "an optimizer that is not there": (
        lambda w, f: {"model.optimizer": "no_such_package.Prodigy"},
        "no_such_package",
    ),
    "too large a batch": (lambda w, f: {"data.batch_size": 10**7}, "memory: "),
    "an unknown token": (lambda w, f: {"data.subject.token": "zwx"}, "subject.token"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_would_fail_is_named_with_its_mend(
    whole: Workspace, tmp_path: Path, name: str
) -> None:
    breaks, expected = BROKEN[name]
    findings = said(whole, breaks(whole, tmp_path))
    assert expected in failing(findings)
    assert lines(findings, "training") in ([], ["mend what fails first"])


def test_a_set_up_that_works_is_tried(whole: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    config = ("--config", str(whole.config))
    assert main(["doctor", *config, "--data.batch_size=3"]) == 0
    page = " ".join(capsys.readouterr().out.split())
    assert "nothing would fail" in page
    assert "s a step on the cpu" in page
    assert "changes what the model predicts for [V]" in page
    assert not whole.run.exists()
    stuck = "--model.optimizer.init_args.lr=0 --data.batch_size 1"
    assert main(["doctor", *config, *stuck.split()]) == 2
    page = " ".join(capsys.readouterr().out.split())
    assert "steps change nothing" in page
    assert "1 thing would fail" in page


def test_what_no_process_could_hold_whole_is_not_tried(
    whole: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process tries the steps, of a model that is split since none can hold all of it."""
    split = {"trainer.strategy": "frozen_sharded", "trainer.devices": 2}
    tried: list[None] = []
    monkeypatch.setattr(Examination, "_trial", lambda _: tried.append(None))

    def counted(
        config: Namespace, build: Any, device: torch.device, settings: dict[str, Any] | None = None
    ) -> MemoryNeeded:
        strategy = (settings or {}).get("trainer.strategy", config.trainer.strategy)
        return MemoryNeeded(6 if is_sharded(strategy) else 10, 0, 0)

    monkeypatch.setattr(examination, "count_step", counted)
    for there, settings in ((10, split), (8, split), (10, {})):
        monkeypatch.setattr(examination, "memory_there", lambda device, there=there: there)
        findings = said(whole, settings, trial=True)
        assert not findings.failed
        left_out = "in one process, where a step needs 10 bytes, and 8 bytes are free"
        assert any(left_out in line for line in lines(findings, "training")) is (there == 8)
    assert len(tried) == 2


def test_a_rate_that_makes_it_diverge(whole: Workspace) -> None:
    line = failing(said(whole, {"model.optimizer.init_args.lr": 1e30}, trial=True))
    assert line.startswith("training: the loss is not finite at step")


def test_masks_to_look_at_and_a_stale_subject(whole: Workspace, tmp_path: Path) -> None:
    findings = said(whole, {"data.preparation.flip": "false"})
    assert not findings.failed
    [line] = lines(findings, "prepared subject")
    assert "lacks" in line
    assert "idgen prepare" in line

    masks, prepared = tmp_path / "masks", tmp_path / "prepared"
    shutil.copytree(whole.folder / "masks", masks)
    from PIL import Image

    picture = Image.new("L", (48, 40), 0)
    picture.paste(255, (20, 20, 25, 25))
    picture.save(masks / "1.png")
    settings = whole.settings()
    settings["data"]["preparation"]["segmenter"]["init_args"]["folder"] = str(masks)
    settings["data"]["subject"]["prepared"] = str(prepared)
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(settings))
    assert main(["prepare", "--config", str(config)]) == 0
    findings = examine([str(config)], {}, trial=False)
    assert not findings.failed
    flagged = lines(findings, "masks")
    assert any("1.png: the mask covers only" in line for line in flagged)
    assert f"look at {prepared / 'contact_sheet.html'}" in flagged


def test_options_that_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "base.yaml"]) == 2
    assert "give options as --KEY VALUE" in capsys.readouterr().err
    assert main(["doctor", "--help"]) == 0
    assert "--no-trial" in capsys.readouterr().out


def test_packages_that_are_too_old_or_absent() -> None:
    assert unmet(Requirement("torch>=2")) is None
    old = unmet(Requirement("torch>=999"))
    assert old is not None
    assert torch.__version__.split("+")[0] in old
    assert "pip install 'torch>=999'" in old
    absent = unmet(Requirement("no-such-package>=1"))
    assert absent is not None
    assert "is not installed" in absent


def test_bytes_in_words() -> None:
    assert [in_words(n) for n in (12, 2048, 3 << 20, 3 << 30)] == [
        "12 bytes",
        "2 KiB",
        "3 MiB",
        "3.0 GiB",
    ]
    assert State.fails.value == "fails"
