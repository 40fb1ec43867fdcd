"""Two processes do what one does."""

import json
from pathlib import Path

import pytest

from idgen.cli import main
from tests.workspace import TinyModels, Workspace, make_workspace, run_idgen

DDP = ("--trainer.devices=2", "--trainer.accelerator=cpu", "--trainer.strategy=ddp")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, tiny_models: TinyModels) -> Workspace:
    """A run of two processes, with a record of each one's parameters."""
    workspace = make_workspace(tmp_path_factory.mktemp("two"), tiny_models)
    changed = workspace.settings()
    # With all losses of base.yaml: L6 switches what is trained off and on within a step.
    terms = changed["model"]["terms"]
    terms["weak_denoising"]["init_args"]["background"] = 0.0
    preserving = {"class_path": "idgen.terms.BackgroundPreservation", "init_args": {"weight": 3.0}}
    terms["background_preservation"] = preserving
    workspace.write(changed)
    ended = run_idgen(
        "fit",
        f"--config={workspace.config}",
        *DDP,
        "--trainer.callbacks+=tests.signalling.RecordParameters",
        f"--trainer.callbacks.folder={workspace.folder}",
    )
    assert ended.returncode == 0, ended.stderr
    return workspace


def test_parameters_are_equal_on_all_processes(two: Workspace) -> None:
    records = [json.loads((two.folder / f"rank-{rank}.json").read_text()) for rank in (0, 1)]
    assert records[0] == records[1]
    assert records[0]["step"] == 4


def test_scores_do_not_depend_on_the_number_of_processes(two: Workspace) -> None:
    command = (
        "test",
        f"--ckpt_path={two.last}",
        "--trainer.callbacks=null",
        "--fidelity.segmenter=tests.prepare.parts.CentreSegmenter",
    )
    one = ("--trainer.strategy=auto", "--trainer.devices=1", f"--drawings.output={two.folder}/one")
    assert main([*command, *one]) == 0
    ended = run_idgen(*command, *DDP, f"--drawings.output={two.folder}/two")
    assert ended.returncode == 0, ended.stderr
    found = {}
    for name in ("one", "two"):
        out = two.folder / name
        found[name] = json.loads((out / "metrics.json").read_text())
        assert len(list((out / "images").glob("*.png"))) == found[name]["images"] == 6
    masked = ("leakage", "masked_dino", "masked_clip_i")
    for score in ("dino", "clip_i", "clip_t", "balance", "diversity", "copying", *masked):
        assert found["one"][score] == pytest.approx(found["two"][score], abs=1e-6)
    assert None not in found["one"]["photos"].values()
    assert found["one"]["photos"] == pytest.approx(found["two"]["photos"], abs=1e-6)


def test_sigterm_to_one_process_saves_and_resuming_goes_on(two: Workspace) -> None:
    """In a step, and once more while it draws: what comes out is as if it had never stopped."""
    root = two.folder / "stopped"
    last = root / "checkpoints" / "last.ckpt"
    config = (f"--config={two.config}", *DDP, f"--trainer.default_root_dir={root}")
    signalled = ("--trainer.callbacks=tests.signalling.SignalItself", "--trainer.callbacks.rank=1")
    in_step = (*signalled, "--trainer.callbacks.step=1")
    drawing = (*signalled, "--trainer.callbacks.step=2", "--trainer.callbacks.in_validation=true")
    for options in ((*config, *in_step), (f"--ckpt_path={last}", *drawing)):
        stopped = run_idgen("fit", *options)
        assert stopped.returncode == 143, stopped.stderr
        assert last.is_file()
    recording = "--trainer.callbacks=tests.signalling.RecordParameters"
    resumed = run_idgen(
        "fit", f"--ckpt_path={last}", recording, f"--trainer.callbacks.folder={root}"
    )
    assert resumed.returncode == 0, resumed.stderr
    records = [json.loads((root / f"rank-{rank}.json").read_text()) for rank in (0, 1)]
    whole = json.loads((two.folder / "rank-0.json").read_text())
    assert records[0] == records[1] == whole


def test_a_loss_that_is_no_number_in_one_process_ends_all(
    tmp_path: Path, tiny_models: TinyModels
) -> None:
    workspace = make_workspace(tmp_path / "bad", tiny_models)
    ended = run_idgen(
        "fit",
        f"--config={workspace.config}",
        *DDP,
        "--trainer.max_steps=2",
        "--trainer.limit_val_batches=0",
        "--trainer.callbacks+=tests.signalling.LossInOneProcess",
        "--trainer.callbacks.step=1",
        "--trainer.callbacks.rank=1",
    )
    assert ended.returncode == 2, ended.stderr
    assert "the loss is not finite at step 1;" in ended.stderr
    assert not list(workspace.run.rglob("*.ckpt"))
