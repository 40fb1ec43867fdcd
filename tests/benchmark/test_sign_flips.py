from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idgen.benchmark.sign_flips import sign_flip_p

DIFFERENCES = st.lists(st.floats(-1, 1), min_size=1, max_size=9)


@given(DIFFERENCES)
@settings(max_examples=50, deadline=None)
def test_it_counts_what_a_plain_loop_over_all_signs_counts(differences: list[float]) -> None:
    found = abs(sum(differences))
    flipped = [
        abs(sum(sign * d for sign, d in zip(signs, differences, strict=True)))
        for signs in product((1, -1), repeat=len(differences))
    ]
    expected = np.mean([value >= found - 1e-9 * len(differences) for value in flipped])
    assert sign_flip_p(differences) == pytest.approx(expected)


def test_pairs_that_all_agree_give_the_least_p_that_their_number_allows() -> None:
    for pairs in (1, 6, 8, 16):
        agreeing = [0.1 + 0.01 * number for number in range(pairs)]
        assert sign_flip_p(agreeing) == 2.0 ** (1 - pairs)


def test_no_difference_at_all_is_no_evidence() -> None:
    assert sign_flip_p([0.0] * 8) == 1.0
    assert sign_flip_p([1e-12, -1e-12, 1e-12]) == 1.0


@given(DIFFERENCES, st.floats(0.1, 3))
@settings(max_examples=30, deadline=None)
def test_neither_direction_nor_scale_nor_order_decides(
    differences: list[float], scale: float
) -> None:
    rounded = [round(d, 3) for d in differences]
    p = sign_flip_p(rounded)
    assert sign_flip_p([-d for d in rounded]) == p
    assert sign_flip_p([scale * d for d in reversed(rounded)]) == pytest.approx(p)


def test_drawn_signs_agree_with_counted_ones() -> None:
    generator = np.random.default_rng(0)
    for shift in (0.0, 0.3, 0.6):
        few = list(generator.normal(shift, 1, 14))
        # Pairs without a difference change no way's mean, but for their number.
        drawn = sign_flip_p([*few, *[0.0] * 6], draws=20_000)
        assert drawn == pytest.approx(sign_flip_p(few), abs=0.015)
    assert sign_flip_p([0.1] * 20, draws=99) == pytest.approx(1 / 100)


def test_where_nothing_differs_it_is_small_no_more_often_than_it_says() -> None:
    generator = np.random.default_rng(1)
    found = np.array([sign_flip_p(list(generator.normal(0, 1, 8))) for _ in range(1000)])
    # Three standard errors of a share above its level.
    for level in (0.01, 0.05, 0.2):
        assert (found <= level).mean() <= level + 3 * (level * (1 - level) / 1000) ** 0.5
    assert (found <= 0.2).mean() > 0.15


@pytest.mark.parametrize("differences", [[], [0.1, float("nan")], [float("inf")]])
def test_what_cannot_be_averaged_is_refused(differences: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        sign_flip_p(differences)
