"""What tools/bench times side by side is the same work."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from idgen.benchmark.cell import Cell
from idgen.cli import main
from idgen.errors import UserError
from tests.workspace import Workspace
from tools.bench.draw import WAYS, Drawers
from tools.bench.draw import row as row_of_drawings
from tools.bench.step import row
from tools.bench.trace import KINDS
from tools.bench.trace import rows as lines_of_trace
from tools.bench.traced import counted
from tools.bench.trial import check_same, rows


@pytest.mark.parametrize("text_rank", [4, 0])
def test_steps_of_all_three_kinds_are_timed_within_one_fit(
    text_rank: int, workspace: Workspace
) -> None:
    result = workspace.folder / "bench.json"
    options = [
        f"--model.tuning.init_args.text_rank={text_rank}",
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


def test_a_step_of_each_kind_is_traced_within_one_fit(workspace: Workspace) -> None:
    result = workspace.folder / "trace.json"
    options = [
        "--trainer.max_steps=6",
        "--trainer.limit_val_batches=0",
        "--trainer.callbacks+=tools.bench.traced.Traced",
        f"--trainer.callbacks.result={result}",
        "--trainer.callbacks.warm_up=3",
    ]
    assert workspace.fit(*options) == 0
    found = json.loads(result.read_text())
    for kind in KINDS:
        assert (result.parent / f"trace-{kind}.json").stat().st_size > 0
        names = [name for name, *_ in found[kind]["operators"]]
        assert any(name.startswith("aten::") for name in names)
    # It makes the same passes as bare ones; naive ones encode photos and texts besides.
    bare, ours, naive = (found[kind]["operations"] for kind in KINDS)
    assert bare < ours < naive
    if not torch.cuda.is_available():
        assert not any(found[kind]["launches"] for kind in KINDS)
    assert [line[:2] for line in lines_of_trace("base", found)] == [["base", k] for k in KINDS]


def test_an_operation_within_another_is_not_counted_again(tmp_path: Path) -> None:
    one = torch.ones(3)
    with profile(activities=[ProfilerActivity.CPU]) as trace:
        one.softmax(0)  # which calls aten::_softmax
        one.sum().item()  # which reads a number
    written = tmp_path / "trace.json"
    trace.export_chrome_trace(str(written))
    found = counted(trace, written)
    assert found["operations"] == 3
    assert found["reads"] == 1
    assert {"aten::softmax", "aten::_softmax"} <= {name for name, *_ in found["operators"]}
    copied = {"ph": "X", "cat": "gpu_memcpy", "name": "Memcpy HtoD (Pageable -> Device)"}
    launched = {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel"}
    waited = {"ph": "X", "cat": "cuda_runtime", "name": "cudaStreamSynchronize"}
    events = [{**copied, "args": {"bytes": 12}}, {**copied, "args": {"bytes": 4}}, launched, waited]
    written.write_text(json.dumps({"traceEvents": events}))
    found = counted(trace, written)
    assert (found["bytes_to_device"], found["launches"], found["waits"]) == (16, 1, 1)


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


def test_the_table_of_trials_is_over_the_same_rounds() -> None:
    found: dict[str, Any] = {
        "seconds": {"bare": [10.0, 20.0, 12.0], "local": [9.0, 15.0, 12.0], "ray": [12, 22, 15]},
        "first": {"bare": 11.0, "local": 14.0, "ray": 20.0},
        "start": {"local": 2.0, "ray": 5.5},
    }
    assert rows(found) == [
        ["bare", "3", "12.00", "", "11.00", ""],
        # Round by round: medians of the two kinds differ by nothing.
        ["local", "3", "12.00", "-1.00 (-5.00 to +0.00)", "14.00", "2.00"],
        ["ray", "3", "15.00", "+2.00 (+2.00 to +3.00)", "20.00", "5.50"],
    ]
    one = {kind: times[:1] for kind, times in found["seconds"].items()}
    assert [line[3] for line in rows({**found, "seconds": one})] == ["", "-1.00", "+2.00"]
    with pytest.raises(ValueError, match="longer"):
        rows({**found, "seconds": {**found["seconds"], "local": [9.0]}})


def test_trials_that_come_to_other_scores_are_refused(tmp_path: Path) -> None:
    cell = Cell("ours / rex / seed 0", tmp_path / "cell", {}, (), {})
    for folder, score in ((cell.folder, 0.5), (tmp_path / "bare" / "1", 0.25)):
        (folder / "test").mkdir(parents=True)
        (folder / "test" / "metrics.json").write_text(json.dumps({"dino": score}))
    with pytest.raises(UserError, match=r"round 1: dino is 0\.25 bare, 0\.5 local"):
        check_same(tmp_path, 1, {"local": cell})
