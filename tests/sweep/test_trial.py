from pathlib import Path

import pytest

from idgen.benchmark.results import CellResult
from idgen.sweep.trial import Trial, front, ranked


def result(subject: str, seed: int, **metrics: float) -> CellResult:
    return CellResult("trial 0", subject, seed, "done", dict(metrics), "", 0, Path())


def test_scores_are_means_over_subjects_of_means_over_seeds() -> None:
    trial = Trial(0, {})
    trial.results = [result("a", 0, dino=0.2), result("a", 1, dino=0.4), result("b", 0, dino=0.9)]
    assert trial.mean("dino") == pytest.approx((0.3 + 0.9) / 2)
    trial.finish(["dino"])
    assert trial.scores == {"dino": pytest.approx(0.6)}
    assert str(trial.status) == "done"
    trial.finish(["leakage"])
    assert str(trial.status) == "failed"


def done(number: int, dino: float, leakage: float) -> Trial:
    return Trial(number, {}, "done", {"dino": dino, "leakage": leakage})


def test_the_front_is_what_no_other_surpasses() -> None:
    trials = [done(0, 0.5, 0.2), done(1, 0.9, 0.9), done(2, 0.4, 0.3), done(3, 0.9, 0.8)]
    trials += [Trial(4, {}, "failed"), Trial(5, {}, "done", trials[1].scores, same_as=1)]
    ways = {"dino": "max", "leakage": "min"}
    assert [trial.number for trial in front(trials, ways)] == [3, 0]
    assert [trial.number for trial in ranked(trials, ways)] == [3, 0, 1, 2]
    assert [trial.number for trial in front(trials, {"dino": "max"})] == [1, 3]
