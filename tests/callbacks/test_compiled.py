"""A training whose denoiser is compiled, through the command line."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from idgen.finite_losses import FiniteLosses
from tests.workspace import Workspace

# Without a compiler of C++: dynamo and autograd's tracing are the same.
COMPILED = ("--compile.when=always", "--compile.backend=aot_eager", "--compile.whole=false")
SHORT = ("--trainer.num_sanity_val_steps=0", "--trainer.limit_val_batches=0")


def weights(checkpoint: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(checkpoint, weights_only=True)["state_dict"]
    return state


def test_its_losses_are_the_eager_ones_and_it_resumes_to_the_bit(
    workspace: Workspace, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses: list[Tensor] = []
    note = FiniteLosses.note

    def spy(seen: FiniteLosses, loss: Tensor, *others: Any) -> None:
        losses.append(loss.detach())
        note(seen, loss, *others)

    monkeypatch.setattr(FiniteLosses, "note", spy)
    eager, half, again = (workspace.folder / name for name in ("eager", "half", "again"))
    assert workspace.fit(f"--trainer.default_root_dir={eager}", *SHORT) == 0
    graphs = torch._dynamo.utils.counters["stats"]
    before = graphs["unique_graphs"]
    # With drawings, which stay eager.
    assert workspace.fit(*COMPILED) == 0
    assert graphs["unique_graphs"] > before
    assert "compile: the denoiser's repeated blocks are compiled" in caplog.text
    torch.testing.assert_close(losses[4:], losses[:4], rtol=1e-4, atol=0)
    first = (f"--trainer.default_root_dir={half}", "--trainer.max_steps=2")
    assert workspace.fit(*COMPILED, *SHORT, *first) == 0
    last = half / "checkpoints" / "last.ckpt"
    on = (f"--trainer.default_root_dir={again}", "--trainer.max_steps=4")
    # With the checkpoint's own setting.
    assert workspace.fit(f"--ckpt_path={last}", *on, config=False) == 0
    straight, resumed = weights(workspace.last), weights(again / "checkpoints" / "last.ckpt")
    assert straight.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in straight.items())


def test_graphs_are_refused_before_any_work(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert workspace.fit("--compile.when=always", "--compile.mode=reduce-overhead") == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
    assert "--compile.mode: reduce-overhead needs a CUDA GPU" in line
    assert not workspace.run.exists()


def test_auto_leaves_a_cpu_alone_and_says_so(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    assert workspace.fit("--compile.when=auto", "--trainer.max_steps=1", *SHORT) == 0
    assert caplog.text.count("compile: auto leaves the denoiser as it is") == 1
