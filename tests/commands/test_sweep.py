"""`idgen sweep` through the command line, with tiny models."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from idgen.cli import main
from idgen.locks import locked
from tests.benchmark.settings import LORA
from tests.benchmark.test_report import Page
from tests.workspace import Workspace


def sweep_settings(workspace: Workspace, **changed: Any) -> dict[str, Any]:
    return {
        "output": str(workspace.folder / "sweep"),
        "configs": [str(workspace.config)],
        "space": {
            "model.optimizer.init_args.lr": {"low": 1e-3, "high": 1e-2, "log": True},
            "method": {"overlays": {"lora": [str(LORA)], "ours": []}},
        },
        "objectives": {"dino": "max", "clip_t": "max"},
        "sampler": "random",
        "trials": 2,
        "subjects": [{"photos": str(workspace.photos), "class_noun": "dog", "live": True}],
        "steps": 2,
        "prompts": ["a [V] {class_noun} on the beach", "a [V] {class_noun} in the snow"],
        "images": 1,
        "settings": {"trainer.limit_val_batches": 0, "checkpoint.keep": 0},
        **changed,
    }


def sweep(workspace: Workspace, settings: dict[str, Any], *options: str) -> int:
    path = workspace.folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    return main(["sweep", f"--config={path}", *options])


def state(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "sweep.json").read_text())["trials"]
    return found


def made(folder: Path) -> dict[str, int]:
    """When each cell was finished, which tells whether it was run again."""
    return {str(path): path.stat().st_mtime_ns for path in folder.glob("cells/*/*/*/done.json")}


def test_trials_are_compared_by_validation_and_the_worse_is_not_trained_on(
    workspace: Workspace,
) -> None:
    settings = sweep_settings(workspace, rungs=[1], objectives={"dino": "max"}, settings={}, jobs=1)
    assert sweep(workspace, settings) == 0
    folder, trials = Path(settings["output"]), state(Path(settings["output"]))
    assert sorted(trial["status"] for trial in trials) == ["done", "stopped"]
    at_rung = {}
    for trial in trials:
        run = folder / f"cells/trial-{trial['number']}/photos/seed-0/run"
        last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
        assert last["global_step"] == (2 if trial["status"] == "done" else 1)
        [row] = [
            r for r in csv.DictReader((run / "validation/scores.csv").open()) if r["step"] == "1"
        ]
        at_rung[trial["status"]] = float(row["dino"])
    assert at_rung["done"] >= at_rung["stopped"]


def test_it_searches_goes_on_and_leaves_a_config(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = sweep_settings(workspace, jobs=1)
    folder = Path(settings["output"])
    assert sweep(workspace, settings) == 0
    first, before = state(folder), made(folder)
    assert [trial["status"] for trial in first] == ["done", "done"]
    assert len(before) == 2
    assert "best.yaml" in capsys.readouterr().out
    # More trials are added to a sweep; none is run again.
    assert sweep(workspace, settings, "--trials=3") == 0
    assert state(folder)[:2] == first
    assert before.items() <= made(folder).items()
    rows = list(csv.DictReader((folder / "trials.csv").open()))
    assert len(rows) == 3
    for row, trial in zip(rows, state(folder), strict=True):
        assert float(row["dino"]) == trial["scores"]["dino"]
        assert row["method"] == trial["values"]["method"]
        metrics = folder / f"cells/trial-{trial['number']}/photos/seed-0/test/metrics.json"
        assert json.loads(metrics.read_text())["dino"] == trial["scores"]["dino"]
    page = Page((folder / "report.html").read_text())
    assert all(source.startswith("data:") for source in page.sources)
    best = folder / "best.yaml"
    number = int(best.read_text().split()[2])
    chosen = state(folder)[number]["values"]
    config = yaml.safe_load(best.read_text())
    lr = config["model"]["optimizer"]["init_args"]["lr"]
    assert lr == pytest.approx(chosen["model.optimizer.init_args.lr"])
    run = f"--trainer.default_root_dir={workspace.folder / 'best'}"
    assert main(["fit", f"--config={best}", run]) == 0
    # Another space is another sweep.
    settings["space"]["model.optimizer.init_args.lr"]["high"] = 0.5
    assert sweep(workspace, settings) == 2
    assert "holds another sweep (space.model.optimizer" in capsys.readouterr().err


def test_ray_gives_the_same_trials_and_scores(workspace: Workspace) -> None:
    settings = sweep_settings(workspace)
    found = {}
    for engine in ("local", "ray"):
        output = workspace.folder / engine
        assert sweep(workspace, settings, f"--output={output}", f"--engine={engine}") == 0
        found[engine] = state(output)
    assert found["ray"] == found["local"]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"space": {}}, "space: it is empty"),
        ({"space": {"model.tuning.init_args.rankk": {"values": [1]}}}, "did you mean"),
        ({"space": {"model.tuning.init_args.rank": {"values": [1, -1]}}}, "rank: -1"),
        ({"space": {"model.tuning.init_args.rank": {"values": ["x"]}}}, "rank: 'x'"),
        ({"space": {"m": {"overlays": {"a": ["nowhere.yaml"]}}}}, "nowhere.yaml"),
        ({"objectives": {}}, "objectives: name a score"),
        ({"objectives": {"dino": "high"}}, "objectives"),
        ({"trials": None}, "trials: say how many"),
        ({"trials": 0}, "trials must be 1 or more"),
        ({"early_stop": True}, "early_stop: it needs one objective"),
        ({"gpus_per_trial": 1.0}, "add --engine ray"),
        ({"engine": "ray", "jobs": 2}, "Ray decides"),
        ({"subjects": []}, "subjects: name one"),
    ],
)
def test_what_makes_no_sweep_is_refused_before_work(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], changed: dict[str, Any], told: str
) -> None:
    settings = sweep_settings(workspace, **changed)
    assert sweep(workspace, settings) == 2
    said = capsys.readouterr().err.strip()
    assert told in said
    assert not (Path(settings["output"]) / "cells").exists()


def test_two_sweeps_in_one_folder_are_refused(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = sweep_settings(workspace)
    folder = Path(settings["output"])
    folder.mkdir()
    with locked(folder / "lock", wait=False):
        assert sweep(workspace, settings) == 2
    assert "another sweep is at work" in capsys.readouterr().err


def test_an_objective_that_no_trial_has_is_refused_with_those_there_are(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = sweep_settings(workspace, objectives={"dinoo": "max"}, trials=1, jobs=1)
    assert sweep(workspace, settings) == 2
    assert "no score 'dinoo'; there are dino, " in capsys.readouterr().err


CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize(
    "shipped", sorted(CONFIGS.glob("sweep/*.yaml")), ids=lambda path: str(path.stem)
)
def test_shipped_sweeps_run_with_small_models(
    shipped: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace.folder)  # the shipped ones are found from anywhere
    given = workspace.settings()
    # The tiny tokenizer spells most words, and takes no longer prompts then.
    prompts = {key: ["a [V] {class_noun}"] for key in ("validation_prompts", "predict_prompts")}
    data = {"preparation": given["data"]["preparation"], **prompts}
    data["preparation"]["segmenter"] = {"class_path": "idgen.prepare.GrabCutSegmenter"}
    tuning = {"init_args": {"rank": 2, "targets": ["to_q"]}}
    small = {"model": {"backbone": given["model"]["backbone"], "tuning": tuning}, "data": data}
    small |= {"fidelity": given["fidelity"]}
    (workspace.folder / "small.yaml").write_text(yaml.safe_dump(small))
    configs = ["configs/base.yaml", str(workspace.folder / "small.yaml")]
    command = ["sweep", f"--config={shipped}", f"--configs={json.dumps(configs)}", "--trials=1"]
    command += ["--steps=1", '--subjects=["mini:200"]', "--output=out", "--jobs=1"]
    command += ['--prompts=["a [V] {class_noun} in the snow"]']
    space = yaml.safe_load(shipped.read_text())["space"]
    # The tiny layers take no larger ranks.
    space["model.tuning.init_args.rank"] = {"values": [1, 2]}
    assert main([*command, f"--space={json.dumps(space)}"]) == 0
    assert (workspace.folder / "out" / "best.yaml").is_file()
