import pytest
from hypothesis import given
from hypothesis import strategies as st

from idgen.benchmark.holm import holm

VALUES = st.lists(st.floats(0, 1), max_size=12)


def test_an_example_by_hand() -> None:
    # 4 x 0.005, 3 x 0.01, 2 x 0.03, 1 x 0.04, the last no smaller than the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_a_family_of_one_or_none_needs_no_correction() -> None:
    assert holm([0.04]) == [0.04]
    assert holm([]) == []


@given(VALUES)
def test_it_rejects_what_the_steps_reject(values: list[float]) -> None:
    """Holm's own procedure: go up the sorted values while p_(k) <= level / (m - k)."""
    for level in (0.05, 0.2):
        rejected = set()
        for rank, place in enumerate(sorted(range(len(values)), key=lambda k: values[k])):
            if values[place] * (len(values) - rank) > level:
                break
            rejected.add(place)
        assert {k for k, p in enumerate(holm(values)) if p <= level} == rejected


@given(VALUES)
def test_it_lies_between_no_correction_and_bonferronis(values: list[float]) -> None:
    for raw, adjusted in zip(values, holm(values), strict=True):
        assert raw <= adjusted <= min(1.0, raw * len(values)) or adjusted == pytest.approx(raw)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_what_is_no_p_value_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="p-values"):
        holm([0.5, value])
