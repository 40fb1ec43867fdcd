"""The same command again: it goes on, begins again, or is refused; one history a run."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.utilities import rank_zero_only

from idgen.callbacks.checkpoint import AdapterCheckpoint
from idgen.cli import main
from idgen.runs.folder import RunFolder
from tests.commands.test_fit import assert_same
from tests.dying import KilledError
from tests.workspace import TinyModels, Workspace, make_workspace

Said = Callable[[], str]
KEPT = Path("checkpoints") / "last.ckpt"


@pytest.fixture
def workspace(tmp_path: Path, tiny_models: TinyModels) -> Workspace:
    """One whose fits die at the moment that the file `die` in it names."""
    workspace = make_workspace(tmp_path, tiny_models)
    settings = workspace.settings()
    dying = {"class_path": "tests.dying.DieOnce", "init_args": {"file": str(tmp_path / "die")}}
    settings["trainer"] |= {"callbacks": [dying], "num_sanity_val_steps": -1}
    workspace.write(settings)
    return workspace


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """The last line that was said since it was last asked for."""
    return lambda: capsys.readouterr().err.strip().splitlines()[-1]


def killed(workspace: Workspace, moment: str, *options: str) -> None:
    (workspace.folder / "die").write_text(moment)
    with pytest.raises(KilledError):
        workspace.fit(*options)


def weights(last: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(last, weights_only=True)["state_dict"]
    return state


def same(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return all(torch.equal(value, second[key]) for key, value in first.items())


def steps(run: Path) -> list[str]:
    with (run / "validation" / "scores.csv").open() as file:
        return [row["step"] for row in csv.DictReader(file)]


def test_killed_before_a_checkpoint_it_begins_again(
    trained: Workspace, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    killed(workspace, "sanity")
    assert (workspace.run / "validation" / "scores.csv").exists()
    assert not workspace.last.exists()
    assert workspace.fit() == 0
    assert "the run begins again" in caplog.text
    assert steps(workspace.run) == ["0", "2", "4"]
    assert same(trained.last, workspace.last)


def test_killed_later_it_goes_on_and_finished_it_is_refused(
    trained: Workspace, workspace: Workspace, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = AdapterCheckpoint._save_checkpoint

    def dies(self: AdapterCheckpoint, trainer: Any, path: str) -> None:
        if trainer.global_step == 4:
            raise KilledError
        save(self, trainer, path)

    monkeypatch.setattr(AdapterCheckpoint, "_save_checkpoint", dies)
    with pytest.raises(KilledError):
        workspace.fit()
    monkeypatch.undo()
    # Validated, drawn and written down, but not saved: a stretch that comes again.
    assert steps(workspace.run) == ["0", "2", "4"]
    for folder in (workspace.run, workspace.last.parent, workspace.run / "validation"):
        (folder / ".tmp-0123").write_text("half")
    (workspace.run / "validation" / "step-000008.png").write_text("of an abandoned stretch")
    beyond = workspace.last.with_name("best-step000008.ckpt")
    shutil.copy(workspace.last, beyond)

    assert workspace.fit("--trainer.enable_progress_bar=false") == 0
    assert steps(workspace.run) == ["0", "2", "4"]
    assert same(trained.last, workspace.last)
    assert not list(workspace.run.rglob(".tmp-*"))
    assert not beyond.exists()
    grids = (workspace.run / "validation").glob("*.png")
    assert sorted(grid.name for grid in grids) == [f"step-{s:06d}.png" for s in (0, 2, 4)]

    before = workspace.last.read_bytes()
    assert workspace.fit() == 2
    line = said()
    assert "is finished" in line
    assert f"--ckpt_path {workspace.last}" in line
    assert workspace.last.read_bytes() == before


def test_killed_at_the_end_of_an_epoch_it_is_where_it_would_have_been(workspace: Workspace) -> None:
    whole = workspace.folder / "whole"
    options = (
        "--data.steps_per_epoch=2",
        "--trainer.max_epochs=3",
        "--trainer.max_steps=-1",
        "--trainer.num_sanity_val_steps=0",
    )
    assert workspace.fit(*options, f"--trainer.default_root_dir={whole}") == 0
    killed(workspace, "step 5", *options)
    assert torch.load(workspace.last, weights_only=True)["global_step"] == 4
    assert workspace.fit(*options) == 0
    ends = [torch.load(last, weights_only=True) for last in (whole / KEPT, workspace.last)]
    assert ends[0]["global_step"] == 6
    for key in ("global_step", "epoch", "loops", "state_dict", "optimizer_states"):
        assert_same(ends[0][key], ends[1][key], key)
    states = [end["callbacks"] for end in ends]
    key = next(key for key in states[0] if key.startswith("AdapterCheckpoint"))
    for name in ("current_score", "best_model_score", "kth_value"):
        assert_same(states[0][key][name], states[1][key][name], name)


def test_last_is_of_the_last_validation_and_another_config_is_refused(
    workspace: Workspace, said: Said
) -> None:
    killed(workspace, "step 3", "--checkpoint.keep=0")
    assert torch.load(workspace.last, weights_only=True)["global_step"] == 2
    before = workspace.last.read_bytes()
    said()
    assert workspace.fit("--checkpoint.keep=0", "--model.optimizer.init_args.lr=0.5") == 2
    assert "another model.optimizer.init_args.lr" in said()
    assert workspace.last.read_bytes() == before


def test_a_run_begun_from_another_goes_on_in_its_own_folder(
    trained: Workspace, workspace: Workspace, said: Said
) -> None:
    command = (
        f"--ckpt_path={trained.last}",
        f"--trainer.default_root_dir={workspace.run}",
        "--trainer.max_steps=8",
    )
    killed(workspace, "step 8", *command)
    assert torch.load(workspace.last, weights_only=True)["global_step"] == 6
    said()
    assert workspace.fit(*command[1:]) == 2
    assert "begun from another checkpoint" in said()
    assert workspace.fit(*command) == 0
    assert torch.load(workspace.last, weights_only=True)["global_step"] == 8
    assert torch.load(trained.last, weights_only=True)["global_step"] == 4
    assert steps(workspace.run) == ["6", "8"]


def test_two_fits_in_one_folder(workspace: Workspace, said: Said) -> None:
    folder = RunFolder.of(str(workspace.run), None)
    with folder.locked():
        assert workspace.fit() == 2
        assert f"at work in {workspace.run}" in said()
    assert not workspace.last.exists()
    elsewhere = RunFolder.of(str(workspace.run), workspace.folder / "elsewhere")
    with elsewhere.locked():
        options = (
            f"--trainer.default_root_dir={workspace.folder / 'second'}",
            f"--checkpoint.dirpath={elsewhere.checkpoints}",
        )
        assert workspace.fit(*options) == 2
        assert f"at work in {elsewhere.checkpoints}" in said()


@pytest.mark.parametrize("name", ["LOCAL_RANK", "RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"])
def test_a_rank_left_in_the_environment(
    trained: Workspace, said: Said, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = trained.last.read_bytes()
    monkeypatch.setenv(name, "1")
    # Lightning takes it for this process's, and would for all tests to come.
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    assert trained.fit() == 2
    assert f"{name}=1" in said()
    assert trained.last.read_bytes() == before


@pytest.mark.parametrize("name", ["NODE_RANK", "GROUP_RANK"])
def test_a_rank_of_a_node_left_in_the_environment(
    workspace: Workspace, said: Said, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It would wait for the processes of a first node for ever."""
    monkeypatch.setenv(name, "1")
    # A trainer sets it for the whole process; other tests are of the first rank.
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    assert workspace.fit("--trainer.devices=2") == 2
    assert f"{name}=1 is set in the environment, but trainer.num_nodes is 1" in said()
    assert not workspace.run.exists()


def test_what_slurm_cannot_launch(
    workspace: Workspace, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_JOB_NAME", "job")
    assert workspace.fit() == 2
    assert "--ntasks-per-node=2" in said()


def test_an_older_checkpoint_does_not_rewind_the_run(workspace: Workspace, said: Said) -> None:
    assert workspace.fit("--checkpoint.keep=2") == 0
    older = workspace.last.with_name("best-step000002.ckpt")
    before = workspace.last.read_bytes()
    said()
    command = ("fit", f"--ckpt_path={older}", "--trainer.max_steps=6")
    assert main([*command]) == 2
    line = said()
    assert "of step 4, would be lost" in line
    assert "--trainer.default_root_dir" in line
    assert workspace.last.read_bytes() == before
    new = workspace.folder / "new"
    assert main([*command, f"--trainer.default_root_dir={new}"]) == 0
    assert steps(new) == ["4", "6"]
    assert workspace.last.read_bytes() == before


def test_a_moved_run_keeps_its_best(workspace: Workspace) -> None:
    assert workspace.fit("--trainer.max_steps=2") == 0
    moved = workspace.folder / "moved"
    workspace.run.rename(moved)
    last = moved / "checkpoints" / "last.ckpt"
    assert main(["fit", f"--ckpt_path={last}", "--trainer.max_steps=6"]) == 0
    assert not workspace.run.exists()
    (best,) = last.parent.glob("best-*.ckpt")
    state = torch.load(last, weights_only=True)["callbacks"]
    (kept,) = (value for key, value in state.items() if key.startswith("AdapterCheckpoint"))
    with (moved / "validation" / "scores.csv").open() as file:
        scores = {int(row["step"]): float(row["balance"]) for row in csv.DictReader(file)}
    assert sorted(scores) == [0, 2, 4, 6]
    highest = max((2, 4, 6), key=scores.__getitem__)
    assert kept["best_model_path"] == str(best)
    assert best.name == f"best-step{highest:06d}.ckpt"
    assert float(kept["best_model_score"]) == pytest.approx(scores[highest], abs=1e-5)


def test_a_table_of_the_logger_goes_on(workspace: Workspace) -> None:
    logs = workspace.folder / "logs"
    options = (
        "--trainer.logger=lightning.pytorch.loggers.CSVLogger",
        f"--trainer.logger.save_dir={logs}",
        "--trainer.logger.name=",
        "--trainer.logger.version=one",
    )
    killed(workspace, "step 4", *options)
    assert workspace.fit(*options) == 0
    with (logs / "one" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    losses = [row["step"] for row in rows if row["train/loss"]]
    assert losses == ["0", "1", "2", "3"]
    validated = [row["step"] for row in rows if row["val/dino"]]
    assert len(set(validated)) == len(validated) == 3


def test_a_loader_that_is_built_anew_each_epoch_goes_on_in_the_stream(
    trained: Workspace, workspace: Workspace
) -> None:
    anew = "--trainer.reload_dataloaders_every_n_epochs=1"
    assert workspace.fit(anew, "--data.steps_per_epoch=1") == 0
    assert same(trained.last, workspace.last)
