import pytest
from hypothesis import given
from hypothesis import strategies as st

from idgen.errors import UserError
from idgen.sweep.space import Parameter, grid


@pytest.mark.parametrize(
    ("parameter", "told"),
    [
        (Parameter(), "says nothing"),
        (Parameter(values=[1], low=1, high=2), "values and low and high"),
        (Parameter(values=[]), "it is empty"),
        (Parameter(overlays={}), "it is empty"),
        (Parameter(values=[4, 8, 4]), "twice"),
        (Parameter(values=[4], log=True), "log and step belong to a range"),
        (Parameter(low=1.0), "needs low and high"),
        (Parameter(low=2, high=1), "low has to be under high"),
        (Parameter(low=0.0, high=float("inf")), "low has to be under high"),
        (Parameter(low=0.0, high=1.0, log=True), "above 0"),
        (Parameter(low=0.0, high=1.0, step=2.0), "step has to be"),
        (Parameter(low=1.0, high=2.0, step=0.5, log=True), "step has to be"),
    ],
)
def test_a_space_that_says_nothing_or_contradicts_itself_is_refused(
    parameter: Parameter, told: str
) -> None:
    with pytest.raises(UserError, match=rf"^space\.rank: .*{told}"):
        parameter.check("rank")


def test_the_choices_of_each_kind() -> None:
    for fine in (
        Parameter(values=[4, "x"]),
        Parameter(low=2, high=5),
        Parameter(low=0.1, high=1.0),
    ):
        fine.check("k")
    assert Parameter(low=2, high=5).choices == [2, 3, 4, 5]
    assert Parameter(low=0.0, high=1.0, step=0.25).choices == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert Parameter(low=0.1, high=1.0).choices == []
    assert Parameter(overlays={"a": [], "b": []}).choices == ["a", "b"]


def test_a_grid_is_every_combination() -> None:
    space = {"a": Parameter(values=[1, 2]), "b": Parameter(low=0, high=2)}
    points = grid(space)
    assert [tuple(point.values()) for point in points] == [
        (a, b) for a in (1, 2) for b in (0, 1, 2)
    ]
    with pytest.raises(UserError, match=r"space\.c: a grid needs values"):
        grid({"c": Parameter(low=0.1, high=1.0)})
    with pytest.raises(UserError, match="10000 are taken at most"):
        grid({key: Parameter(low=1, high=30) for key in "abc"})


def test_a_grid_of_billions_is_counted_and_not_made() -> None:
    with pytest.raises(UserError, match=r"its grid has 4294967296 points"):
        grid({"seed_everything": Parameter(low=0, high=2**32 - 1)})


@given(st.integers(-5, 5), st.integers(1, 40), st.integers(1, 7))
def test_a_size_is_the_number_of_choices(low: int, length: int, step: int) -> None:
    for one in (Parameter(low=low, high=low + length, step=step), Parameter(values=[*range(step)])):
        assert one.size == len(one.choices)
