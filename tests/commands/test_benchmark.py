"""`idgen benchmark` through the command line, with tiny models."""

import csv
import json
import os
import re
import shutil
import signal
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

import idgen.cli as cli
from idgen.benchmark.executor import LocalExecutor
from idgen.benchmark.running import run_cells
from idgen.benchmark.tables import PHOTOS
from idgen.cli import main
from idgen.commands.terminating import terminating
from idgen.locks import locked
from idgen.prepare import lone_photo_note
from tests.benchmark.settings import benchmark_settings, write_settings
from tests.benchmark.test_executor import calls, make_cell, until
from tests.benchmark.test_report import Page
from tests.forked import start_forked
from tests.loading import nothing_loaded
from tests.workspace import Workspace

Settings = dict[str, Any]

# As settings may name classes: with an argument that is given later, built alone, and nested.
CLASSES: Settings = {
    "model.scheduler": {
        "class_path": "torch.optim.lr_scheduler.LinearLR",
        "init_args": {"total_iters": 2},
    },
    "model.optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.005}},
    "model.tuning": {
        "class_path": "idgen.models.tuning.CombinedTuning",
        "init_args": {
            "parts": [{"class_path": "idgen.models.tuning.LoraTuning", "init_args": {"rank": 1}}]
        },
    },
}


def test_it_runs_reports_and_leaves_finished_cells_alone(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Its photos' masks are empty, so that its preparation fails, and every cell of it.
    other = tmp_path / "other"
    other.mkdir()
    for photo in workspace.photos.iterdir():
        shutil.copy(photo, other / f"empty-{photo.name}")
        with Image.open(photo) as opened:
            empty = Image.new("L", opened.size)
        empty.save(workspace.folder / "masks" / f"empty-{photo.stem}.png")
    settings = benchmark_settings(workspace)
    settings["subjects"].append({"photos": str(other), "class_noun": "dog"})
    settings["methods"].pop("plain LoRA")
    settings["settings"]["model.optimizer.init_args.weight_decay"] = 0.5
    settings["methods"]["ours"] = {"settings": CLASSES}
    path = write_settings(workspace, settings)
    assert main(["benchmark", f"--config={path}"]) == 1
    said = capsys.readouterr().err
    assert "failed: ours / other / seed 0: preparation: prepare: " in said
    assert "empty-0" in said
    output = Path(settings["output"])
    rows = list(csv.DictReader((output / "results.csv").open()))
    assert [(r["method"], r["subject"], r["status"]) for r in rows] == [
        ("ours", "photos", "done"),
        ("untrained", "photos", "done"),
        ("ours", "other", "failed"),
        ("untrained", "other", "failed"),
    ]
    for row in rows[:2]:
        cell = output / "cells" / row["method"] / "photos" / "seed-0"
        metrics = json.loads((cell / "test" / "metrics.json").read_text())
        assert float(row["dino"]) == pytest.approx(metrics["dino"], abs=1e-6)
        assert metrics["images"] == 2
        single = Page((cell / "test" / "report.html").read_text())
        assert sum(source.startswith("data:") for source in single.sources) == 2 + 3
        assert metrics["step"] == (2 if row["method"] == "ours" else 0)
    frozen = yaml.safe_load((output / "cells/ours/photos/seed-0/config.yaml").read_text())
    parts = {name: frozen["model"][name]["init_args"] for name in ("scheduler", "optimizer")}
    assert parts["scheduler"]["total_iters"] == 2
    assert (parts["optimizer"]["lr"], parts["optimizer"]["weight_decay"]) == (0.005, 0.5)
    assert frozen["model"]["tuning"]["init_args"]["parts"][0]["init_args"]["rank"] == 1
    page = Page((output / "report.html").read_text())
    assert all(source.startswith("data:image/") for source in page.sources)
    assert {"ours", "untrained", "photos (dog)"} <= set(page.words.split("\n"))
    content = json.loads((output / "results.json").read_text())
    assert content["protocol"]["backbone"] == str(workspace.models.pipeline)
    assert (output / "table.md").exists()
    assert (output / "table.tex").exists()

    drawn = output / "cells" / "ours" / "photos" / "seed-0" / "test" / "metrics.json"
    before = drawn.stat().st_mtime_ns
    (output / "report.html").unlink()
    with nothing_loaded():
        assert main(["benchmark", f"--config={path}", "--only_report=true"]) == 1
    assert (output / "report.html").exists()
    assert drawn.stat().st_mtime_ns == before


def test_a_photo_without_its_mask_is_refused_before_any_work(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(next(workspace.photos.iterdir()), other / "unmasked.png")
    settings = benchmark_settings(workspace)
    settings["subjects"].append({"photos": str(other), "class_noun": "dog"})
    assert main(["benchmark", f"--config={write_settings(workspace, settings)}"]) == 2
    assert "masks missing in" in (said := capsys.readouterr().err)
    assert "'unmasked.png'" in said
    assert not (Path(settings["output"]) / "cells").exists()


def _method(**method: Any) -> Callable[[Settings], object]:
    return lambda settings: settings["methods"].update(bad=method)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda s: s.update(reference="theirs"), "no method 'theirs'; there are ours"),
        (lambda s: s.update(refrence="ours"), "did you mean 'reference'"),
        (lambda s: s.update(seeds=[0, 0]), "seeds: at least one, and none twice"),
        (lambda s: s.update(images=0), "images must be 1 or more"),
        (lambda s: s.update(output=""), "output: name a folder for the results"),
        (lambda s: s.update(subjects=[]), "subjects: name one"),
        (lambda s: s.update(subjects=["mini:dragon"]), "no demo subject 'mini:dragon'"),
        (lambda s: s.update(subjects=["photos"]), "neither mini:NUMBER nor mini:NAME"),
        (lambda s: s.update(subjects=["mini:1", "mini:1"]), "share a folder; rename one"),
        (lambda s: s["subjects"][0].update(photos="nowhere"), "there is no folder nowhere"),
        (lambda s: s.update(prompts="nowhere.txt"), "nowhere.txt"),
        (lambda s: s["configs"].append("none.yaml"), "configs: there is no file none.yaml"),
        (_method(configs=["none.yaml"]), "methods.bad.configs: there is no file none.yaml"),
        (_method(settings={"model.tunin.rank": 1}), "method 'bad': "),
        (_method(settings={"model.tuning.init_args.rank": "lots"}), "method 'bad': "),
        (_method(settings={"config": "base.yaml"}), "'config' is no setting of a method"),
        (_method(settings={"ckpt_path": "x"}), "'ckpt_path' is no setting of a method"),
        (_method(settings={"seed_everything": 1}), "'seed_everything' is no setting of a method"),
        (
            _method(settings={"model.terms.weak_denoising.init_args.weight": None}),
            "--model.terms.weak_denoising.init_args.weight is null",
        ),
        (
            lambda s: s["settings"].update({"data.test_images": 8}),
            "settings: 'data.test_images' is what 'images' sets",
        ),
        (
            _method(settings={"data.test_prompts": "mini"}),
            "methods.bad.settings: 'data.test_prompts' is what 'prompts' sets",
        ),
        (_method(seting={"trainer.max_steps": 1}), "seting"),
        (_method(settings={"model.optimizer.init_args.lr": -1.0}), "method 'bad': --model.optim"),
        (_method(settings={"trainer.max_steps": 0}), "method 'bad': trainer.max_steps is 0"),
        (lambda s: s["methods"].update({1: {}}), "the name 1 is no text; put it in quotes"),
        (lambda s: s["methods"].update({"x" * 250: {}}), "is too long for a folder"),
    ],
)
def test_what_cannot_be_run_is_refused_before_any_work(
    workspace: Workspace,
    spoil: Callable[[Settings], object],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = benchmark_settings(workspace)
    spoil(settings)
    assert main(["benchmark", f"--config={write_settings(workspace, settings)}"]) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("idgen benchmark: error: ")
    assert said in line
    assert not (Path(settings["output"]) / "cells").exists()


def test_a_folder_is_one_benchmarks_at_a_time(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = benchmark_settings(workspace)
    settings["methods"] = {"ours": {}}
    folder = Path(settings["output"])
    folder.mkdir()
    command_line = ["benchmark", f"--config={write_settings(workspace, settings)}"]
    with locked(folder / "lock"):
        assert main(command_line) == 2
    assert "another benchmark is at work in" in capsys.readouterr().err
    assert main([*command_line, "--only_report=true"]) == 0


def test_a_subject_with_one_photo_is_trained_and_its_photo_has_no_score(
    workspace: Workspace,
) -> None:
    for name in ("1.png", "2.png"):
        (workspace.photos / name).unlink()
    settings = benchmark_settings(workspace)
    settings["methods"] = {"ours": {}}
    settings["settings"]["fidelity.segmenter"] = "tests.prepare.parts.CentreSegmenter"
    path = write_settings(workspace, settings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert main(["benchmark", f"--config={path}"]) == 0
    note = lone_photo_note(workspace.photos)
    assert [str(warning.message) for warning in caught].count(note) == 1

    output = Path(settings["output"])
    cell = output / "cells" / "ours" / "photos" / "seed-0"
    for log in ("fit.log", "test.log"):
        assert (cell / log).read_text().count(f"warning: {note}\n") == 1
    metrics = json.loads((cell / "test" / "metrics.json").read_text())
    names = ["dino", "clip_i", "masked_dino", "masked_clip_i"]
    assert metrics["photos"] == dict.fromkeys(names)
    assert None not in [metrics[name] for name in names]
    single = Page((cell / "test" / "report.html").read_text()).words
    assert "photos, each against the others" in single

    row = next(line for line in (output / "table.md").read_text().splitlines() if PHOTOS in line)
    assert "| 0 of 1 subject |" in row
    assert not re.search(r"\d\.\d", row)
    assert PHOTOS in Page((output / "report.html").read_text()).words
    content = json.loads((output / "results.json").read_text())
    assert content["regimes"]["plain"]["photos"]["subjects"]["photos"] == dict.fromkeys(names)


def test_regimes_are_run_reported_apart_and_gone_on_with_elsewhere(workspace: Workspace) -> None:
    settings = benchmark_settings(workspace)
    settings["methods"] = {"ours": {}}
    settings["subjects"] = ["mini:3"]
    settings["regimes"] = ["scenes=1&photos=2&masks=wide&captions=right", "photos=2&masks=exact"]
    settings["records"] = str(workspace.folder / "records")
    settings["settings"]["data.preparation.segmenter"] = "tests.prepare.parts.CentreSegmenter"
    path = write_settings(workspace, settings)
    assert main(["benchmark", f"--config={path}"]) == 0
    output = Path(settings["output"])
    rows = list(csv.DictReader((output / "results.csv").open()))
    regimes = ["scenes=1&photos=2&masks=wide&captions=right", "photos=2&masks=exact"]
    assert [(row["regime"], row["status"]) for row in rows] == [(r, "done") for r in regimes]
    wide, exact = (
        json.loads(found.read_text())
        for found in sorted((output / "cells").rglob("metrics.json"), reverse=True)
    )
    # Photos are scored by their true masks, whatever training was given.
    assert wide["protocol"]["photo_segmenter"] == exact["protocol"]["photo_segmenter"]
    assert None not in (wide["identity_accuracy"], wide["leakage"], wide["photos"]["masked_dino"])
    assert "## photos=2&masks=exact" in (output / "table.md").read_text()
    assert "## " not in Page((output / "report.html").read_text()).words
    assert (output / "regimes.svg").read_text().startswith("<svg ")

    elsewhere = workspace.folder / "elsewhere"
    assert main(["benchmark", f"--config={path}", f"--output={elsewhere}"]) == 0
    assert not (elsewhere / "cells").exists()
    again = list(csv.DictReader((elsewhere / "results.csv").open()))
    assert again == rows
    assert "The drawings lie elsewhere." in Page((elsewhere / "report.html").read_text()).words


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_lets_commands_save_and_says_how_to_go_on(
    tmp_path: Path, number: int, code: int
) -> None:
    checkpoint, log = tmp_path / "a/run/last.ckpt", tmp_path / "log"
    given = (f"--checkpoint={checkpoint}", f"--wait={tmp_path / 'never'}")

    def run(command_name: str, *, options: Sequence[str]) -> None:
        with terminating():
            run_cells(LocalExecutor(1, 1), [make_cell(tmp_path, "a", *given)], "running")

    def driver() -> int:
        cli._run = run  # type: ignore[assignment]
        return main(["benchmark"])

    process = start_forked(driver, log)
    until(checkpoint.exists)
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join(timeout=120)
    assert process.exitcode == code, log.read_text()
    assert "run it again to go on" in log.read_text()
    assert calls(tmp_path)[-1] == "terminated"


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["benchmark", "--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    for words in (
        "--methods",
        "--subjects",
        "--jobs",
        "held-out",
        "quick.yaml",
        "killed at any moment",
    ):
        assert words in printed
