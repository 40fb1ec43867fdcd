"""Cells run as processes: tiny scripts in place of fit and test."""

import contextlib
import shutil
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from idgen.benchmark.cell import Cell, Outcome, Step
from idgen.benchmark.executor import LocalExecutor
from idgen.benchmark.verify import check_scores, check_weights
from idgen.errors import UserError
from tests.forked import start_forked

FAKE = Path(__file__).with_name("fake_command.py")


def make_cell(
    folder: Path,
    name: str = "a",
    *options: str,
    version: int = 1,
    verify: Callable[[Path], None] | None = None,
) -> Cell:
    own = folder / name
    last = own / "run" / "last.ckpt"
    command = (sys.executable, str(FAKE), f"--calls={folder / f'{name}.calls'}")
    fit = Step(
        "fit",
        (*command, f"--result={own / 'run' / 'fitted'}", *options),
        own / "run" / "fitted",
        own / "run",
        checkpoint=last,
    )
    test = Step(
        "test",
        (*command, f"--result={own / 'test' / 'metrics.json'}"),
        own / "test" / "metrics.json",
        own / "test",
        verify=verify,
    )
    return Cell(name, own, {"version": version}, (fit, test), {own / "config.yaml": "key: 1\n"})


def calls(folder: Path, name: str = "a") -> list[str]:
    path = folder / f"{name}.calls"
    return path.read_text().splitlines() if path.exists() else []


def run(*cells: Cell, jobs: int = 2) -> dict[str, Outcome]:
    return {outcome.cell.name: outcome for outcome in LocalExecutor(jobs, 2).run(cells)}


def test_a_cell_runs_its_steps_once(tmp_path: Path) -> None:
    cell = make_cell(tmp_path)
    assert not cell.is_done()
    assert not run(cell)["a"].reason
    assert cell.is_done()
    assert (cell.folder / "config.yaml").read_text() == "key: 1\n"
    assert len(calls(tmp_path)) == 2
    run(cell)
    assert len(calls(tmp_path)) == 2


def test_a_done_marker_is_for_one_record_and_needs_the_results(tmp_path: Path) -> None:
    cell = make_cell(tmp_path)
    run(cell)
    assert not make_cell(tmp_path, version=2).is_done()
    cell.steps[1].result.unlink()
    assert not cell.is_done()


def test_a_finished_cell_whose_checkpoint_is_deleted_is_not_run_again(tmp_path: Path) -> None:
    cell = make_cell(tmp_path)
    run(cell)
    shutil.rmtree(cell.folder / "run")
    assert cell.is_done()
    run(cell)
    assert len(calls(tmp_path)) == 2


def test_a_failure_is_named_and_does_not_stop_the_others(tmp_path: Path) -> None:
    bad = make_cell(tmp_path, "bad", "--exit=2", "--say=\x1b[31midgen fit: error: no\x1b[0m photo")
    outcomes = run(make_cell(tmp_path, "a"), bad, make_cell(tmp_path, "b"), jobs=1)
    assert outcomes["bad"].failed
    assert outcomes["bad"].exit_code == 2
    assert outcomes["bad"].reason == "fit: idgen fit: error: no photo"
    assert not outcomes["a"].failed
    assert not outcomes["b"].failed
    assert len(calls(tmp_path, "bad")) == 1
    said = bad.failure()
    assert said is not None
    assert (said["reason"], said["exit_code"]) == ("fit: idgen fit: error: no photo", 2)


def test_a_failure_is_that_of_one_record(tmp_path: Path) -> None:
    run(make_cell(tmp_path, "a", "--exit=2"))
    assert make_cell(tmp_path).failure() is not None
    assert make_cell(tmp_path, version=2).failure() is None


def test_trouble_of_any_kind_is_its_cells_alone(tmp_path: Path) -> None:
    def broken(path: Path) -> None:
        raise ZeroDivisionError("by zero")

    outcomes = run(make_cell(tmp_path, "bad", verify=broken), make_cell(tmp_path, "a"), jobs=1)
    assert outcomes["bad"].reason == "ZeroDivisionError: by zero"
    assert not outcomes["a"].failed


def test_a_failed_cell_starts_anew_and_its_failure_is_forgotten(tmp_path: Path) -> None:
    run(make_cell(tmp_path, "a", f"--checkpoint={tmp_path / 'a/run/last.ckpt'}", "--exit=1"))
    cell = make_cell(tmp_path)
    assert not run(cell)["a"].failed
    assert calls(tmp_path)[1].startswith("from none")
    assert not (cell.folder / "failed.json").exists()


def test_being_told_to_stop_is_tried_again(tmp_path: Path) -> None:
    checkpoint = tmp_path / "a/run/last.ckpt"
    cell = make_cell(tmp_path, "a", "--stops=2", f"--checkpoint={checkpoint}")
    assert not run(cell)["a"].failed
    tried = [line.split(",")[0] for line in calls(tmp_path)]
    assert tried[:3] == ["from none", f"from {checkpoint}", f"from {checkpoint}"]


def test_being_told_to_stop_every_time_is_a_failure(tmp_path: Path) -> None:
    outcome = run(make_cell(tmp_path, "a", "--stops=9"))["a"]
    assert outcome.failed
    assert outcome.exit_code == 143
    assert len(calls(tmp_path)) == 3


def test_a_step_without_its_result_fails(tmp_path: Path) -> None:
    cell = make_cell(tmp_path, "a", "--result=/dev/null")
    assert "left no fitted" in run(cell)["a"].reason


@pytest.mark.parametrize("value", ["NaN", "Infinity"])
def test_scores_that_are_no_numbers_fail_the_cell(tmp_path: Path, value: str) -> None:
    cell = make_cell(tmp_path, verify=check_scores)
    content = f'{{"dino": {value}, "leakage": null}}'
    broken = Step("test", (*cell.steps[1].command, f"--content={content}"), cell.steps[1].result)
    outcome = run(Cell("a", cell.folder, {}, (_verified(broken),), {}))["a"]
    assert outcome.failed
    assert "the score dino is" in outcome.reason


def _verified(step: Step) -> Step:
    return Step(step.name, step.command, step.result, verify=check_scores)


def test_a_score_that_does_not_exist_is_no_failure(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text('{"dino": 0.5, "masked_dino": null, "images": 3}')
    check_scores(path)


def test_weights_of_a_diverged_run_are_named(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {"a": torch.ones(2), "b": torch.tensor([1.0, torch.nan])}}, path)
    with pytest.raises(Exception, match="the weight b is not finite"):
        check_weights(path)
    torch.save({"state_dict": {"a": torch.ones(2)}}, path)
    check_weights(path)


def test_damaged_results_are_named(tmp_path: Path) -> None:
    path = tmp_path / "damaged"
    path.write_bytes(b"half of it")
    for check in (check_weights, check_scores):
        with pytest.raises(UserError, match=r"cannot read .*damaged"):
            check(path)


def test_another_record_starts_anew(tmp_path: Path) -> None:
    checkpoint = tmp_path / "a/run/last.ckpt"
    with contextlib.closing(
        LocalExecutor(1, 1).run(
            [make_cell(tmp_path, "a", f"--checkpoint={checkpoint}", "--stops=99")]
        )
    ) as outcomes:
        next(outcomes)
    (tmp_path / "a" / "failed.json").unlink()  # as if it had been killed
    run(make_cell(tmp_path, "a", version=2))
    assert calls(tmp_path)[3].startswith("from none")


def test_closing_stops_the_commands_and_a_new_run_goes_on(tmp_path: Path) -> None:
    checkpoint, go = tmp_path / "slow/run/last.ckpt", tmp_path / "go"
    slow = make_cell(tmp_path, "slow", f"--checkpoint={checkpoint}", f"--wait={go}")
    outcomes = LocalExecutor(2, 2).run([slow, make_cell(tmp_path, "a")])
    assert next(outcomes).cell.name == "a"
    until(checkpoint.exists)
    outcomes.close()
    assert calls(tmp_path, "slow")[-1] == "terminated"
    assert not (slow.folder / "failed.json").exists()
    go.touch()
    assert not run(slow)["slow"].failed
    assert calls(tmp_path, "slow")[2].startswith(f"from {checkpoint}")


def test_a_killed_benchmark_is_gone_on_with_once_its_commands_have_ended(tmp_path: Path) -> None:
    checkpoint, go = tmp_path / "a/run/last.ckpt", tmp_path / "go"
    options = (f"--checkpoint={checkpoint}", f"--wait={go}")

    def benchmark() -> int:
        run(make_cell(tmp_path, "a", *options))
        return 0

    driver = start_forked(benchmark, tmp_path / "log")
    until(checkpoint.exists)
    driver.kill()
    driver.join()
    assert driver.exitcode == -signal.SIGKILL
    with ThreadPoolExecutor(1) as pool:
        again = pool.submit(run, make_cell(tmp_path, "a", *options))
        time.sleep(1)
        # The command that outlived the benchmark still works in the folder: it is waited for.
        assert len(calls(tmp_path)) == 1
        go.touch()
        assert not again.result()["a"].failed
    assert calls(tmp_path)[1].startswith(f"from {checkpoint}")
    assert len(calls(tmp_path)) == 3


def test_cells_at_a_time_share_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    list(LocalExecutor(jobs=2, cores=8).run([make_cell(tmp_path)]))
    assert calls(tmp_path)[0].endswith("threads 4")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    list(LocalExecutor(jobs=2, cores=8).run([make_cell(tmp_path, "b")]))
    assert calls(tmp_path, "b")[0].endswith("threads 3")


def test_what_another_cells_start_sets_is_no_cells_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    executor = LocalExecutor(jobs=2, cores=8)
    # As `ForkedCommand` does for as long as the process starts that it forks from.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert executor._environment(0)["OMP_NUM_THREADS"] == "3"


def test_each_slot_gets_a_gpu_of_its_own() -> None:
    executor = LocalExecutor(jobs=3, cores=8, gpus=["4", "7"])
    given = [executor._environment(slot)["CUDA_VISIBLE_DEVICES"] for slot in range(3)]
    assert given == ["4", "7", "4"]
    assert "CUDA_VISIBLE_DEVICES" not in LocalExecutor(1, 8, ["0", "1"])._environment(0)


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
