"""What tools/bench times side by side is the same work."""

import json

import pytest

from idgen.cli import main
from tests.workspace import Workspace
from tools.bench.draw import WAYS, Drawers
from tools.bench.draw import row as row_of_drawings
from tools.bench.step import row


def test_steps_of_all_three_kinds_are_timed_within_one_fit(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = workspace.folder / "bench.json"
    options = [
        "--trainer.max_steps=4",
        "--trainer.limit_val_batches=0",
        "--trainer.callbacks+=tools.bench.interleaved.Interleaved",
        f"--trainer.callbacks.result={result}",
        "--trainer.callbacks.warm_up=0",
    ]
    assert workspace.fit(*options) == 0
    found = json.loads(result.read_text())
    # The first step of idgen begins before the others are there.
    assert {name: len(times) for name, times in found["seconds"].items()} == {
        "idgen": 3,
        "bare": 4,
        "naive": 4,
    }
    assert all(seconds > 0 for times in found["seconds"].values() for seconds in times)
    assert row("base", 2, found)[:2] == ["base", "2"]


def test_terms_that_the_others_do_not_know_are_refused(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = workspace.settings()
    attention = {"class_path": "idgen.terms.AttentionInMask", "init_args": {"reduction": 2}}
    changed["model"]["terms"]["attention"] = attention
    workspace.write(changed)
    options = [
        "fit",
        f"--config={workspace.config}",
        "--trainer.callbacks+=tools.bench.interleaved.Interleaved",
        f"--trainer.callbacks.result={workspace.folder / 'bench.json'}",
    ]
    assert main(options) == 2
    assert "terms.attention: tools.bench knows" in capsys.readouterr().err


def test_all_ways_to_draw_make_the_same_pictures(workspace: Workspace) -> None:
    source = str(workspace.models.pipeline)
    drawers = Drawers.of(source, "float32", "cpu", steps=3, batch=2)
    pictures = {way: getattr(drawers, way)(3).int() for way in WAYS}
    tuned = [pictures[way] for way in ("loop", "beside", "idgen")]
    assert all((one - tuned[-1]).abs().max() <= 1 for one in tuned)
    assert (pictures["batched"] - tuned[-1]).abs().max() > 1, "it has no LoRA"
    assert row_of_drawings(3, {way: [1.0, 2.0, 3.0] for way in WAYS})[-1].startswith("1.00")
