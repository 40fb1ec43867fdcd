import sys
from typing import Any

import pytest

from idgen.errors import UserError
from idgen.sweep.config import SweepConfig
from idgen.sweep.search import Search, make_search
from idgen.sweep.space import Parameter


def config(**changed: Any) -> SweepConfig:
    given: dict[str, Any] = {
        "configs": ["base.yaml"],
        "space": {
            "lr": Parameter(low=1e-4, high=1e-2, log=True),
            "rank": Parameter(values=[4, [8, 8], None]),
            "steps": Parameter(low=10, high=50, step=10),
        },
        "objectives": {"dino": "max"},
        "output": "out",
        "trials": 40,
        "sampler": "tpe",
    }
    return SweepConfig(**{**given, **changed})


def trials_of(search: Search, count: int) -> list[dict[str, Any]]:
    """Asked two at a time, and told that small rates are good."""
    found: list[dict[str, Any]] = []
    while len(found) < count:
        batch = [search.ask(), search.ask()]
        for number, values in enumerate(batch, start=len(found)):
            search.tell(number, None if number == 3 else [-values["lr"]])
        found += batch
    return found


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2"])
def test_the_same_seed_gives_the_same_trials_from_what_it_was_told(sampler: str) -> None:
    first, again, other = (
        trials_of(make_search(config(sampler=sampler, seed=seed)), 12) for seed in (1, 1, 2)
    )
    assert first == again != other
    for values in first:
        assert 1e-4 <= values["lr"] <= 1e-2
        assert values["rank"] in (4, [8, 8], None)
        assert values["steps"] in (10, 20, 30, 40, 50)


def test_tpe_learns_where_it_is_good() -> None:
    search = make_search(config())
    found = trials_of(search, 40)
    early, late = ([values["lr"] for values in part] for part in (found[:10], found[-10:]))
    assert sorted(late)[5] < sorted(early)[5]
    importances = search.importances()
    assert max(importances, key=lambda key: importances[key]) == "lr"


def test_a_grid_needs_no_optuna(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    points = {"a": Parameter(values=[1, 2]), "b": Parameter(values=["x"])}
    search = make_search(config(space=points, sampler="grid", trials=None))
    assert [search.ask(), search.ask()] == [{"a": 1, "b": "x"}, {"a": 2, "b": "x"}]
    with pytest.raises(UserError, match=r"pip install 'idgen\[sweep\]'"):
        make_search(config())


def test_early_stop_is_by_the_median_of_the_others() -> None:
    points = {"a": Parameter(values=[1, 2, 3, 4])}
    search = make_search(config(space=points, sampler="grid", trials=None, early_stop=True))
    assert [search.ask()["a"] for _ in range(4)] == [1, 2, 3, 4]
    for number in range(3):
        assert not search.report(number, 0.5 + 0.1 * number, 0)
        search.tell(number, [0.5 + 0.1 * number])
    assert search.report(3, 0.1, 0)
    search.tell(3, None, stopped=True)


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2"])
def test_more_trials_leave_the_first_as_they_are(sampler: str) -> None:
    few, many = (trials_of(make_search(config(sampler=sampler, trials=n)), 12) for n in (12, 36))
    assert few == many


def test_a_trial_is_poor_under_the_median_of_those_before() -> None:
    search = make_search(config(together=2))
    for _ in range(5):
        search.ask()
    # The first two are compared with nothing; the others with all before them at the same place.
    values = [0.5, 0.1, 0.2, 0.4, 0.29]
    assert [search.report(n, value, 0) for n, value in enumerate(values)] == [
        *(False, False),
        True,
        False,
        True,
    ]
    assert not search.report(4, 0.0, 1)
