"""validate, test, predict and sample on a checkpoint."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from idgen.cli import main
from idgen.evaluation.protocol import Protocol
from idgen.metrics.encoders import DinoScorer
from idgen.prepare.index import FEATURES
from tests.workspace import Workspace

MASKED = ("leakage", "masked_dino", "masked_clip_i")
TRUE = ("identity_accuracy", "background_accuracy")
CENTRE = ("--fidelity.segmenter=tests.prepare.parts.CentreSegmenter",)


def pixels(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in sorted((folder / "images").glob("*.png"))]


def test_test_needs_only_the_checkpoint(trained: Workspace, tmp_path: Path) -> None:
    out = tmp_path / "scores"
    assert main(["test", f"--ckpt_path={trained.last}", f"--drawings.output={out}"]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["images"] == 6
    assert metrics["prompts"] == 3
    assert metrics["step"] == 4
    assert Protocol.from_json(metrics["protocol"]).dino == str(trained.models.dino)
    rows = list(csv.DictReader((out / "images.csv").open()))
    assert len(rows) == 6
    for score in ("dino", "clip_i", "clip_t", "diversity", "copying"):
        mean = sum(float(row[score]) for row in rows) / len(rows)
        assert metrics[score] == pytest.approx(mean, abs=1e-5)
    # Its photos' masks are files, and drawings have none; its subject is not the mini world's.
    for score in MASKED + TRUE:
        assert metrics[score] is None
        assert {row[score] for row in rows} == {""}
    for row in rows:
        assert (out / row["file"]).exists()
        assert "sks" not in row["plain_prompt"]
    assert (out / "grid.png").exists()
    assert (out / "config.yaml").exists()


def scored(trained: Workspace, out: Path, *options: str) -> dict[str, Any]:
    options = (f"--ckpt_path={trained.last}", f"--drawings.output={out}", *options)
    assert main(["test", *options]) == 0
    metrics: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return metrics


def test_a_segmenter_of_drawings_brings_the_masked_scores(
    trained: Workspace, tmp_path: Path
) -> None:
    metrics = scored(trained, tmp_path / "scores", *CENTRE)
    rows = list(csv.DictReader((tmp_path / "scores" / "images.csv").open()))
    for score in MASKED:
        mean = sum(float(row[score]) for row in rows) / len(rows)
        assert metrics[score] == pytest.approx(mean, abs=1e-5)
        assert -1 <= metrics[score] <= 1
    photos = metrics["photos"]
    assert list(photos) == ["dino", "clip_i", "masked_dino", "masked_clip_i"]
    dino = DinoScorer(str(trained.models.dino)).load(torch.device("cpu"))
    pictures = [np.array(Image.open(path)) for path in sorted(trained.photos.iterdir())]
    embedded = dino.embed_images([torch.from_numpy(p).permute(2, 0, 1) for p in pictures]).double()
    cosines = [(a @ b).item() for i, a in enumerate(embedded) for b in embedded[i + 1 :]]
    assert photos["dino"] == pytest.approx(np.mean(cosines), abs=1e-6)
    without = Protocol.from_json(scored(trained, tmp_path / "without")["protocol"])
    differences = without.differences(Protocol.from_json(metrics["protocol"]))
    assert [difference.field for difference in differences] == ["segmenter", "inpainter"]


def test_a_score_of_ones_own_is_added_by_its_class_path(
    trained: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = '[{"class_path": "tests.parts_of_users.Brightness", "init_args": {"darkest": %s}}]'
    out = tmp_path / "scores"
    metrics = scored(trained, out, f"--fidelity.scores={own % 0}")
    rows = list(csv.DictReader((out / "images.csv").open()))
    for row, picture in zip(rows, pixels(out), strict=True):
        assert float(row["brightness"]) == pytest.approx(picture.mean() / 255, abs=1e-6)
    mean = sum(float(row["brightness"]) for row in rows) / len(rows)
    assert metrics["brightness"] == pytest.approx(mean, abs=1e-6)
    assert metrics["protocol"]["scores"] == {"brightness": "brightness above 0.0"}
    assert "test/brightness" in capsys.readouterr().out
    page = (out / "report.html").read_text()
    assert f"{mean:.3f}" in page
    assert ">brightness<" in page
    out = tmp_path / "none"
    metrics = scored(trained, out, f"--fidelity.scores={own % 1}")
    assert metrics["brightness"] is None
    assert {row["brightness"] for row in csv.DictReader((out / "images.csv").open())} == {""}


def test_without_a_prepared_subject_masked_scores_are_empty_and_say_why(
    trained: Workspace, tmp_path: Path
) -> None:
    lost = f"--data.subject.prepared={tmp_path / 'lost'}"
    with pytest.warns(UserWarning, match="left empty: .*lost lacks .*: run idgen prepare"):
        metrics = scored(trained, tmp_path / "scores", *CENTRE, lost, "--data.test_images=1")
    assert [metrics[score] for score in (*MASKED, "diversity")] == [None] * 4
    assert metrics["dino"] is not None
    assert metrics["protocol"]["photo_segmenter"] is None


def test_masked_scores_need_nothing_but_masks_and_backgrounds(
    trained: Workspace, tmp_path: Path
) -> None:
    older = tmp_path / "older"
    shutil.copytree(trained.folder / "prepared", older)
    for kind in FEATURES:
        shutil.rmtree(older / kind)
    (older / "contact_sheet.html").unlink()
    options = (*CENTRE, f"--data.subject.prepared={older}", "--data.test_images=1")
    metrics = scored(trained, tmp_path / "scores", *options)
    whole = scored(trained, tmp_path / "whole", *CENTRE, "--data.test_images=1")
    assert [metrics[score] for score in MASKED] == [whole[score] for score in MASKED]
    assert None not in [metrics[score] for score in MASKED]
    (older / "index.json").unlink()
    (older / ".idgen-prepare.lock").touch()
    without_index = scored(trained, tmp_path / "again", *options)
    assert [without_index[score] for score in MASKED] == [whole[score] for score in MASKED]


def test_the_command_line_wins_over_the_checkpoint(trained: Workspace, tmp_path: Path) -> None:
    out = tmp_path / "scores"
    options = ["--model.sampler.init_args.steps=1", "--data.test_images=1"]
    assert main(["test", f"--ckpt_path={trained.last}", f"--drawings.output={out}", *options]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["sampler"]["steps"] == 1
    assert metrics["images"] == 3


def test_results_of_a_run_are_numbered_not_replaced(workspace: Workspace) -> None:
    assert workspace.fit("--trainer.max_steps=1") == 0
    for _ in range(2):
        assert main(["predict", f"--ckpt_path={workspace.last}"]) == 0
    assert len(pixels(workspace.run / "predict")) == 2
    assert len(pixels(workspace.run / "predict-2")) == 2


def test_sample_draws_the_same_again_and_other_seeds_differ(
    trained: Workspace, tmp_path: Path
) -> None:
    def sample(name: str, *options: str) -> list[np.ndarray]:
        out = tmp_path / name
        command = ["sample", str(trained.last), "a [V] dog on the beach", "-n", "2"]
        assert main([*command, "--out", str(out), *options]) == 0
        return pixels(out)

    first, again, other = sample("a"), sample("b"), sample("c", "--seed", "1")
    assert len(first) == 2
    assert not np.array_equal(first[0], first[1])
    assert all(np.array_equal(x, y) for x, y in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_a_reference_changes_the_drawing_by_its_weight(trained: Workspace, tmp_path: Path) -> None:
    def sample(name: str, *options: str) -> np.ndarray:
        out = tmp_path / name
        command = ["sample", str(trained.last), "a [V] dog", "-n", "1", "--out", str(out)]
        assert main([*command, *options]) == 0
        return pixels(out)[0]

    photo = str(trained.photos / "0.png")
    plain = sample("plain")
    nothing = sample("nothing", "--reference", photo, "--reference-weight", "0")
    whole = sample("whole", "--reference", photo, "--reference-weight", "1")
    assert np.array_equal(plain, nothing)
    assert not np.array_equal(plain, whole)


def test_validate_scores_the_validation_prompts(workspace: Workspace) -> None:
    assert workspace.fit("--trainer.max_steps=1", "--trainer.val_check_interval=1") == 0
    assert main(["validate", f"--ckpt_path={workspace.last}"]) == 0
    during = (workspace.run / "validation" / "scores.csv").read_text().splitlines()[-1]
    after = (workspace.run / "validation-2" / "scores.csv").read_text().splitlines()[-1]
    assert during == after


def test_a_checkpoint_draws_on_a_machine_that_has_nothing_else(
    workspace: Workspace, tmp_path: Path
) -> None:
    assert workspace.fit("--trainer.max_steps=1") == 0
    checkpoint = torch.load(workspace.last, weights_only=True)
    stored = yaml.safe_load(checkpoint["idgen"]["config"])
    stored["trainer"] |= {"accelerator": "gpu", "devices": 4, "strategy": "ddp"}
    checkpoint["idgen"]["config"] = yaml.safe_dump(stored)
    del checkpoint["idgen"]["config_digest"]
    torch.save(checkpoint, workspace.last)
    for folder in ("photos", "masks", "prepared"):
        shutil.rmtree(workspace.folder / folder)
    out = tmp_path / "out"
    assert main(["sample", str(workspace.last), "a [V] dog", "-n", "2", "--out", str(out)]) == 0
    assert len(pixels(out)) == 2
    assert (out / "grid.png").exists()


def test_sigterm_ends_drawing_at_once(trained: Workspace, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["predict", f"--ckpt_path={trained.last}", f"--drawings.output={out}"]
    assert main([*command, "--trainer.callbacks+=tests.signalling.SignalItself"]) == 143
    assert not list(out.rglob("*.png"))
