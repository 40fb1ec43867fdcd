import csv
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from tests.workspace import Workspace, run_idgen


def checkpoint(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return loaded


def assert_same(first: Any, second: Any, at: str = "") -> None:
    """Equal to the bit, all the way down."""
    assert type(first) is type(second), at
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second), at
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), at
        for key in first:
            assert_same(first[key], second[key], f"{at}/{key}")
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second), at
        for index, pair in enumerate(zip(first, second, strict=True)):
            assert_same(*pair, f"{at}/{index}")
    else:
        assert first == second, at


def test_a_run_leaves_config_checkpoints_scores_and_grids(trained: Workspace) -> None:
    config = yaml.safe_load((trained.run / "config.yaml").read_text())
    assert config["trainer"]["max_steps"] == 4
    assert config["model"]["tuning"]["init_args"]["rank"] == 2
    rows = list(csv.DictReader((trained.run / "validation" / "scores.csv").open()))
    assert [row["step"] for row in rows] == ["2", "4"]
    assert {"dino", "clip_i", "clip_t", "balance"} <= rows[0].keys()
    for step in (2, 4):
        with Image.open(trained.run / "validation" / f"step-{step:06d}.png") as grid:
            assert grid.width > 200
    assert trained.last.exists()
    assert len(list(trained.last.parent.glob("best-*.ckpt"))) == 1
    assert any(trained.run.glob("events.out.tfevents*"))
    assert (trained.folder / "prepared" / "contact_sheet.html").exists()


def test_checkpoints_hold_what_is_trained_and_load_without_pickle(trained: Workspace) -> None:
    stored = checkpoint(trained.last)
    assert stored["global_step"] == 4
    parts = {"lora_A": 0, "lora_B": 0, "decoupling": 0, "fusion": 0}
    for key in stored["state_dict"]:
        (part,) = [part for part in parts if part in key]
        parts[part] += 1
    assert all(parts.values())
    states = stored["optimizer_states"][0]["state"]
    assert len(states) <= len(stored["state_dict"])


def test_training_changes_every_part(trained: Workspace, workspace: Workspace) -> None:
    assert workspace.fit("--trainer.max_steps=1") == 0
    early, late = checkpoint(workspace.last)["state_dict"], checkpoint(trained.last)["state_dict"]
    unchanged = [key for key in early if torch.equal(early[key], late[key])]
    assert not unchanged


def test_resuming_in_mid_epoch_equals_never_having_stopped(
    trained: Workspace, workspace: Workspace
) -> None:
    assert workspace.fit("--trainer.max_steps=2") == 0
    assert checkpoint(workspace.last)["global_step"] == 2
    assert (
        workspace.fit(f"--ckpt_path={workspace.last}", "--trainer.max_steps=4", config=False) == 0
    )
    whole, resumed = checkpoint(trained.last), checkpoint(workspace.last)
    assert resumed["global_step"] == 4
    for key in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert_same(whole[key], resumed[key], key)


def test_sigterm_saves_and_resuming_equals_never_having_stopped(
    trained: Workspace, workspace: Workspace
) -> None:
    ended = run_idgen(
        "fit",
        f"--config={workspace.config}",
        "--trainer.callbacks+=tests.signalling.SignalItself",
        "--trainer.callbacks.step=3",
        "--trainer.val_check_interval=3",
    )
    assert ended.returncode == 143, ended.stderr
    sheet = workspace.folder / "prepared" / "contact_sheet.html"
    assert str(sheet) in ended.stdout + ended.stderr
    assert checkpoint(workspace.last)["global_step"] == 3
    resumed = workspace.fit(
        f"--ckpt_path={workspace.last}", "--trainer.callbacks=null", config=False
    )
    assert resumed == 0
    assert_same(
        checkpoint(trained.last)["state_dict"], checkpoint(workspace.last)["state_dict"], "weights"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_ctrl_c_and_sigusr1_save_and_draw_nothing_more(
    workspace: Workspace, number: signal.Signals
) -> None:
    ended = workspace.fit(
        "--trainer.callbacks+=tests.signalling.SignalItself",
        "--trainer.callbacks.step=2",
        f"--trainer.callbacks.number={int(number)}",
    )
    assert ended == 128 + number
    assert checkpoint(workspace.last)["global_step"] == 2
    assert not (workspace.run / "validation" / "step-000002.png").exists()


def test_sigterm_in_validation_ends_it_and_resuming_equals_never_having_stopped(
    trained: Workspace, workspace: Workspace
) -> None:
    ended = workspace.fit(
        "--trainer.callbacks+=tests.signalling.SignalItself",
        "--trainer.callbacks.step=2",
        "--trainer.callbacks.in_validation=true",
    )
    assert ended == 143
    assert checkpoint(workspace.last)["global_step"] == 2
    # It was told before the first of two batches of drawings.
    assert not (workspace.run / "validation").exists()
    resumed = workspace.fit(
        f"--ckpt_path={workspace.last}", "--trainer.callbacks=null", config=False
    )
    assert resumed == 0
    whole, after = checkpoint(trained.last), checkpoint(workspace.last)
    for key in ("global_step", "state_dict", "optimizer_states", "lr_schedulers"):
        assert_same(whole[key], after[key], key)
    rows = list(csv.DictReader((workspace.run / "validation" / "scores.csv").open()))
    both = list(csv.DictReader((trained.run / "validation" / "scores.csv").open()))
    assert rows == both[1:]


def test_a_run_without_logger_and_progress_bar(workspace: Workspace) -> None:
    options = ("--trainer.logger=false", "--trainer.enable_progress_bar=false")
    assert workspace.fit("--trainer.max_steps=1", *options) == 0
    assert workspace.last.exists()
    assert not list(workspace.run.glob("events*"))


def test_a_resumed_run_takes_its_settings_from_the_command_line(workspace: Workspace) -> None:
    assert workspace.fit("--trainer.max_steps=1") == 0
    options = ("--trainer.max_steps=2", "--model.optimizer.init_args.lr=0.003")
    assert workspace.fit(f"--ckpt_path={workspace.last}", *options, config=False) == 0
    config = yaml.safe_load((workspace.run / "config.yaml").read_text())
    assert config["model"]["optimizer"]["init_args"]["lr"] == 0.003
    assert (workspace.run / "config.1.yaml").exists()


def test_folders_that_the_run_makes_are_stored_as_they_hold_anywhere(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = workspace.settings()
    settings["model"]["terms"]["prior"] = {"class_path": "idgen.terms.PriorPreservation"}
    settings["data"]["prior"] = {"count": 1, "folder": "class_images"}
    workspace.write(settings)
    monkeypatch.chdir(workspace.folder)
    assert workspace.fit("--trainer.max_steps=1", "--trainer.limit_val_batches=0") == 0
    stored = [(workspace.run / "config.yaml").read_text()]
    stored.append(checkpoint(workspace.last)["idgen"]["config"])
    folders = [yaml.safe_load(text)["data"]["prior"]["folder"] for text in stored]
    assert folders == [str(workspace.folder / "class_images")] * 2


def test_a_second_run_does_not_prepare_again(trained: Workspace, workspace: Workspace) -> None:
    assert workspace.fit("--trainer.max_steps=1") == 0
    files = {
        path: path.stat().st_mtime_ns
        for path in (workspace.folder / "prepared").rglob("*")
        if path.suffix in (".png", ".safetensors")
    }
    root = f"--trainer.default_root_dir={workspace.folder / 'second'}"
    assert workspace.fit("--trainer.max_steps=1", root) == 0
    assert files == {path: path.stat().st_mtime_ns for path in files}
