"""A frozen denoiser split between two processes: what comes out is what DDP's whole one gives."""

import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from idgen.benchmark.forked import ForkedCommand, can_fork
from idgen.cli import main
from tests.backbones.tiny_families import FAMILIES
from tests.commands.test_families import changed
from tests.commands.test_processes import DDP
from tests.workspace import TinyModels, Workspace, make_workspace, run_idgen

SHARDED = (*DDP[:2], "--trainer.strategy=frozen_sharded")
COMMAND = (sys.executable, "-m", "idgen")

pytestmark = pytest.mark.skipif(not can_fork(COMMAND), reason="needs forks")
each = pytest.mark.parametrize("name", ["unet", "flux1_dev"])
Made = Callable[[str], Workspace]


def run_two(log: Path, *arguments: str) -> None:
    """Runs a command as two processes, as torchrun would; they fork from one that has imported."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    with log.open("wb") as output:
        processes = [
            ForkedCommand((*COMMAND, *arguments), output, output, {**shared, "LOCAL_RANK": rank})
            for rank in "01"
        ]
        # Where one makes a call less than the other, both wait.
        late = [Timer(300, process.send_signal, [signal.SIGKILL]) for process in processes]
        for timer in late:
            timer.start()
        try:
            assert [process.wait() for process in processes] == [0, 0], log.read_text()
        finally:
            for timer in late:
                timer.cancel()


@pytest.fixture(scope="module")
def trained_on(tmp_path_factory: pytest.TempPathFactory, tiny_models: TinyModels) -> Made:
    """A workspace with runs of four steps, split in `run` and whole in `whole`.

    Gradients are checkpointed, and L6 switches LoRA off in a pass of its own.
    """

    @cache
    def made(name: str) -> Workspace:
        workspace = make_workspace(tmp_path_factory.mktemp(name), tiny_models)
        settings = workspace.settings()
        for family in FAMILIES:
            if family.name == name:
                changed(settings, family, family.save(workspace.folder / "pipeline"))
        kind = "idgen.terms.BackgroundPreservation"
        settings["model"]["terms"]["preserved"] = {"class_path": kind, "init_args": {"weight": 3.0}}
        settings["model"]["backbone"]["init_args"]["gradient_checkpointing"] = True
        # Rates at which rounding stays rounding.
        settings["model"]["optimizer"] = {"class_path": "torch.optim.SGD", "init_args": {"lr": 1.0}}
        settings["trainer"]["val_check_interval"] = 2
        settings["trainer"]["callbacks"] = recording(workspace.folder)
        workspace.write(settings)
        config = f"--config={workspace.config}"
        if name == "unet":  # by its own launcher, whose second process is the command line again
            ended = run_idgen("fit", config, *SHARDED)
            assert ended.returncode == 0, ended.stderr
        else:
            run_two(workspace.folder / "run.log", "fit", config, *SHARDED)
        root = f"--trainer.default_root_dir={workspace.folder / 'whole'}"
        none = ("--trainer.callbacks=null", "--trainer.limit_val_batches=0")
        run_two(workspace.folder / "whole.log", "fit", config, *DDP, root, *none)
        return workspace

    return made


def recording(folder: Path) -> list[dict[str, Any]]:
    """Callbacks that note what a process holds, and keep the checkpoint of the third step."""
    half = {"every_n_train_steps": 3, "dirpath": str(folder / "half")}
    return [
        {"class_path": "tests.signalling.RecordHeld", "init_args": {"folder": str(folder)}},
        {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": half},
    ]


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(checkpoint, weights_only=True)["state_dict"]
    return state


@each
def test_it_learns_what_whole_weights_learn(name: str, trained_on: Made) -> None:
    workspace = trained_on(name)
    split, whole = (
        weights(workspace.last),
        weights(workspace.folder / "whole/checkpoints/last.ckpt"),
    )
    assert split.keys() == whole.keys()
    torch.testing.assert_close(split, whole, rtol=1e-4, atol=1e-5)
    assert any(value.any() for key, value in split.items() if ".lora_B." in key)
    assert (workspace.run / "validation" / "step-000004.png").exists()


@each
def test_each_process_holds_half_of_what_is_frozen(name: str, trained_on: Made) -> None:
    records = [trained_on(name).folder / f"held-{rank}.json" for rank in (0, 1)]
    held, other = (json.loads(record.read_text()) for record in records)
    assert held["frozen"] == held["frozen_split"] == other["frozen_split"]
    assert held["here"] + other["here"] == held["frozen"]
    assert 0.45 * held["frozen"] < held["here"] < 0.55 * held["frozen"]
    assert held["trained_split"] == other["trained_split"] == 0


@each
def test_resuming_equals_never_having_stopped(name: str, trained_on: Made, tmp_path: Path) -> None:
    workspace, run = trained_on(name), tmp_path / "run"
    [stopped] = workspace.folder.glob("half/*.ckpt")
    options = (f"--ckpt_path={stopped}", f"--trainer.default_root_dir={run}")
    run_two(tmp_path / "log", "fit", *options, "--trainer.callbacks=null")
    resumed, expected = weights(run / "checkpoints" / "last.ckpt"), weights(workspace.last)
    assert resumed.keys() == expected.keys()
    assert all(torch.equal(value, resumed[key]) for key, value in expected.items())


@each
def test_two_processes_draw_what_one_draws(name: str, trained_on: Made, tmp_path: Path) -> None:
    """Three batches, so that one process has nothing to draw while the other draws the last."""
    command = ("test", f"--ckpt_path={trained_on(name).last}", "--trainer.callbacks=null")
    run_two(tmp_path / "log", *command, *SHARDED, f"--drawings.output={tmp_path / 'two'}")
    assert main([*command, f"--drawings.output={tmp_path / 'one'}"]) == 0
    one, two = (json.loads((tmp_path / n / "metrics.json").read_text()) for n in ("one", "two"))
    assert one["images"] == two["images"] == 6
    assert one["dino"] == pytest.approx(two["dino"], abs=1e-3)
    for path in (tmp_path / "one" / "images").glob("*.png"):
        drawn, again = (
            np.asarray(Image.open(tmp_path / folder / "images" / path.name), dtype=int)
            for folder in ("one", "two")
        )
        assert abs(drawn - again).max() <= 2
