"""Drawings before the first step: made once for runs that begin alike, and for no others."""

from pathlib import Path
from typing import Any

import pytest
import torch

from idgen.callbacks.untrained import UntrainedDrawings
from idgen.evaluation.kept import KeptEvaluations
from idgen.sampling import Sampler
from tests.workspace import Workspace

BEFORE = "--trainer.num_sanity_val_steps=-1"


@pytest.fixture
def solved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """How many pictures each batch that was really drawn had."""
    monkeypatch.setenv("IDGEN_CACHE", str(tmp_path / "cache"))
    batches: list[int] = []
    solve = Sampler._solved

    def counted(self: Sampler, backbone: Any, conditioning: Any, requests: Any, *rest: Any) -> Any:
        batches.append(len(requests))
        return solve(self, backbone, conditioning, requests, *rest)

    monkeypatch.setattr(Sampler, "_solved", counted)
    return batches


def kept_files(folder: Path) -> dict[str, bytes]:
    names = ("validation/step-000000.png", "validation/scores.csv")
    return {name: (folder / name).read_bytes() for name in names}


def test_a_run_that_begins_alike_draws_nothing_and_is_the_same_to_the_bit(
    workspace: Workspace, solved: list[int]
) -> None:
    runs = [workspace.folder / name for name in ("one", "two", "three")]
    lr = "--model.optimizer.init_args.lr"
    options = (BEFORE, "--trainer.max_steps=1", "--trainer.val_check_interval=1")
    drawn = []
    for run, rate in zip(runs, ("1e-2", "1e-2", "1e-3"), strict=True):
        solved.clear()
        assert workspace.fit(*options, f"{lr}={rate}", f"--trainer.default_root_dir={run}") == 0
        drawn.append(list(solved))
    assert drawn == [[2, 1, 2, 1], [2, 1], [2, 1]]
    first, second, third = (kept_files(run) for run in runs)
    assert first == second
    assert first["validation/step-000000.png"] == third["validation/step-000000.png"]
    one, two = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in runs[:2]
    )
    assert one.keys() == two.keys()
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_one_that_begins_otherwise_draws(workspace: Workspace, solved: list[int]) -> None:
    options = (BEFORE, "--trainer.max_steps=1", "--trainer.val_check_interval=9")
    others = (
        "--seed_everything=1",
        "--data.drawing_seed=5",
        "--fidelity.clip.init_args.model=mini",
    )
    for number, changed in enumerate(((), *((other,) for other in others))):
        solved.clear()
        root = f"--trainer.default_root_dir={workspace.folder / str(number)}"
        assert workspace.fit(*options, *changed, root) == 0
        assert solved == [2, 1], changed


def test_code_of_the_users_own_is_drawn_with_each_time(tmp_path: Path) -> None:
    kept = KeptEvaluations(tmp_path)
    ours = {"sampler": {"class_path": "idgen.sampling.Sampler"}}
    theirs = {"tuning": {"init_args": {"parts": [{"class_path": "mine.Tuning"}]}}}
    assert UntrainedDrawings(kept, ours, {})._is_known
    assert not UntrainedDrawings(kept, ours | theirs, {})._is_known
    assert not UntrainedDrawings(kept, ours, {"dino": {"class_path": "mine.Dino"}})._is_known
    # What of training alone is the user's own draws nothing.
    assert UntrainedDrawings(kept, ours | {"optimizer": {"class_path": "mine.Adam"}}, {})._is_known
