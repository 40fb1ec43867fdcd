"""A checkpoint that is damaged is refused in one line; one that lacks a part says which."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from idgen.cli import main
from idgen.errors import UserError
from idgen.runs.stored import read_stored_run
from tests.commands.test_fit import assert_same
from tests.workspace import Workspace

Change = Callable[[dict[str, Any]], object]


def changed(trained: Workspace, path: Path, change: Change) -> Path:
    """A copy of a checkpoint, changed and saved again, so that its archive is whole."""
    checkpoint = torch.load(trained.last, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, path)
    return path


def refused(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    capsys.readouterr()
    assert main(list(command)) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(lines) == 1
    return lines[0]


def flip(checkpoint: dict[str, Any]) -> None:
    name = next(iter(checkpoint["state_dict"]))
    checkpoint["state_dict"][name].view(torch.int32).view(-1)[0] ^= 1


def to_nan(checkpoint: dict[str, Any]) -> None:
    for value in checkpoint["state_dict"].values():
        value.fill_(torch.nan)
    checkpoint["idgen"].pop("weights_digest", None)


def moment_to_nan(checkpoint: dict[str, Any]) -> None:
    checkpoint["optimizer_states"][0]["state"][0]["exp_avg"].fill_(torch.nan)


def test_a_flipped_bit_anywhere_in_the_file(trained: Workspace, tmp_path: Path) -> None:
    content = trained.last.read_bytes()
    whole = torch.load(trained.last, weights_only=True)
    path = tmp_path / "flipped.ckpt"
    refusals = 0
    for place in range(7, len(content), len(content) // 60):
        path.write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])
        try:
            read_stored_run(str(path))
        except UserError:
            refusals += 1
        else:
            # It fell on what aligns the records, and on nothing that is read.
            assert_same(whole, torch.load(path, weights_only=True))
    assert refusals > 30


def test_a_weight_that_was_changed(
    trained: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for change, reason in ((flip, "differ from their checksum"), (to_nan, "is not finite")):
        path = changed(trained, tmp_path / f"{change.__name__}.ckpt", change)
        out = str(tmp_path / "out")
        assert reason in refused(capsys, "sample", str(path), "a [V] dog", "--out", out)
        for command in ("fit", "test", "validate", "predict"):
            assert reason in refused(capsys, command, f"--ckpt_path={path}")
        assert not Path(out).exists()


def test_weights_alone_are_drawn_with_and_not_trained_on(
    trained: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = changed(trained, tmp_path / "alone.ckpt", lambda c: c.pop("optimizer_states"))
    root = f"--trainer.default_root_dir={tmp_path / 'new'}"
    line = refused(capsys, "fit", f"--ckpt_path={path}", root, "--trainer.max_steps=6")
    assert "weights alone" in line
    assert not (tmp_path / "new").exists()
    out = tmp_path / "out"
    assert main(["sample", str(path), "a [V] dog", "-n", "1", "--out", str(out)]) == 0
    assert len(list((out / "images").iterdir())) == 1


def test_parts_of_another_kind(
    trained: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes: dict[str, Change] = {
        "no weights": lambda c: c["state_dict"].update({next(iter(c["state_dict"])): [1]}),
        "no whole": lambda c: c.pop("pytorch-lightning_version"),
        "weights alone": lambda c: c.pop("lr_schedulers"),
        "no sound state": lambda c: c.update(optimizer_states=[{}]),
        "no sound state of optimizer": moment_to_nan,
        "no step": lambda c: c.update(global_step=-4),
        "optimizer and loops": lambda c: c.update(loops={"a": 1}),
    }
    root = f"--trainer.default_root_dir={tmp_path / 'new'}"
    for reason, change in changes.items():
        path = changed(trained, tmp_path / "changed.ckpt", change)
        assert reason in refused(capsys, "fit", f"--ckpt_path={path}", root)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("text", ["trainer: [", "a word", "trainer: 3", "trainer: {}\nmodel: {}"])
def test_a_damaged_config_can_be_given(
    trained: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    def damage(checkpoint: dict[str, Any]) -> None:
        checkpoint["idgen"]["config"] = text
        # As one that was damaged before it was saved.
        checkpoint["idgen"].pop("config_digest", None)

    path = changed(trained, tmp_path / "damaged.ckpt", damage)
    out = str(tmp_path / "out")
    line = refused(capsys, "sample", str(path), "a [V] dog", "--out", out)
    assert "config that is damaged" in line
    assert "--config" in line
    if text == "a word":
        with_config = ("--config", str(trained.config))
        assert main(["sample", str(path), "a [V] dog", "-n", "1", "--out", out, *with_config]) == 0


def test_a_changed_config_differs_from_its_checksum(
    trained: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(checkpoint: dict[str, Any]) -> None:
        config = checkpoint["idgen"]["config"]
        checkpoint["idgen"]["config"] = config.replace("rank: 2", "rank: 3")

    path = changed(trained, tmp_path / "changed.ckpt", change)
    assert "config that is damaged" in refused(capsys, "test", f"--ckpt_path={path}")
