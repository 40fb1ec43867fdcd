import random
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idgen.benchmark.bootstrap import (
    bootstrap_interval,
    paired_difference,
    subject_means,
)

SCORES = st.lists(st.floats(-1, 1), min_size=2, max_size=12)


def by_subject(values: list[float]) -> dict[tuple[str, int], float]:
    return {(f"s{index}", 0): value for index, value in enumerate(values)}


def spread_of(values: dict[tuple[str, int], float]) -> tuple[float, float]:
    interval = bootstrap_interval(values)
    assert interval.low is not None
    assert interval.high is not None
    return interval.low, interval.high


def test_a_subject_counts_once_however_many_seeds_it_has() -> None:
    values = {("a", 0): 0.0, ("a", 1): 1.0, ("b", 0): 0.8}
    assert subject_means(values) == {"a": 0.5, "b": 0.8}
    assert bootstrap_interval(values).mean == pytest.approx(0.65)
    once = {("a", 0): 0.5, ("b", 0): 0.8}
    assert spread_of(values) == spread_of(once)


def test_two_subjects_give_the_exact_quantiles() -> None:
    # The mean of two draws is 0, 1/2 or 1 with probabilities 1/4, 1/2, 1/4.
    assert spread_of(by_subject([0.0, 1.0])) == (0.0, 1.0)
    narrow = bootstrap_interval(by_subject([0.0, 1.0]), level=0.4)
    assert (narrow.low, narrow.high) == (0.5, 0.5)


def test_three_subjects_give_the_quantiles_of_all_27_samples() -> None:
    values = [0.1, 0.5, 0.7]
    means = sorted(sum(sample) / 3 for sample in product(values, repeat=3))
    interval = bootstrap_interval(by_subject(values), resamples=200_000, level=0.8)
    # With 27 equally likely samples the 10 % quantile is the third smallest mean.
    assert interval.low == pytest.approx(means[2], abs=1e-6)
    assert interval.high == pytest.approx(means[-3], abs=1e-6)


def test_quantiles_agree_with_a_plain_loop() -> None:
    generator = random.Random(1)
    values = [generator.gauss(0.6, 0.1) for _ in range(9)]
    means = np.array([np.mean(generator.choices(values, k=9)) for _ in range(20_000)])
    low, high = spread_of(by_subject(values))
    assert low == pytest.approx(np.quantile(means, 0.025), abs=2e-3)
    assert high == pytest.approx(np.quantile(means, 0.975), abs=2e-3)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        interval = bootstrap_interval(by_subject(list(generator.normal(0.5, 0.1, 15))), 1000)
        assert interval.low is not None
        assert interval.high is not None
        covered += interval.low <= 0.5 <= interval.high
    # Somewhat below 95 %, as the percentile interval of 15 values is known to be.
    assert 0.87 < covered / 300 < 0.98


@given(SCORES)
@settings(max_examples=30, deadline=None)
def test_the_interval_holds_the_mean_and_lies_within_the_values(values: list[float]) -> None:
    low, high = spread_of(by_subject(values))
    assert min(values) - 1e-9 <= low <= np.mean(values) + 1e-9
    assert np.mean(values) - 1e-9 <= high <= max(values) + 1e-9


@given(SCORES, st.floats(-2, 2), st.floats(0.1, 3))
@settings(max_examples=30, deadline=None)
def test_shifting_and_scaling_values_shifts_and_scales_the_interval(
    values: list[float], shift: float, scale: float
) -> None:
    low, high = spread_of(by_subject(values))
    moved = spread_of(by_subject([shift + scale * value for value in values]))
    assert moved == pytest.approx((shift + scale * low, shift + scale * high), abs=1e-9)


def test_the_order_of_cells_does_not_matter() -> None:
    values = by_subject([0.3, 0.9, 0.5, 0.6])
    assert spread_of(values) == spread_of(dict(reversed(values.items())))


def test_one_subject_has_no_interval() -> None:
    interval = bootstrap_interval({("a", 0): 0.5, ("a", 1): 0.7})
    assert (interval.low, interval.high, interval.half_width) == (None, None, None)
    assert interval.mean == pytest.approx(0.6)


@pytest.mark.parametrize("values", [{}, {("a", 0): float("nan"), ("b", 0): 1.0}])
def test_values_that_cannot_be_averaged_are_refused(values: dict[tuple[str, int], float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        bootstrap_interval(values)


def test_pairing_finds_a_small_difference_among_subjects_that_differ_much() -> None:
    reference = by_subject([0.1, 0.3, 0.5, 0.7, 0.8, 0.9])
    values = {pair: value + 0.01 for pair, value in reference.items()}
    difference = paired_difference(values, reference)
    assert difference is not None
    assert difference.interval.low == pytest.approx(0.01)
    assert difference.interval.high == pytest.approx(0.01)
    assert (difference.sign, difference.above) == (1, 6)
    assert spread_of(values)[0] < spread_of(reference)[1]


def test_few_subjects_that_agree_prove_nothing() -> None:
    reference = by_subject([0.1, 0.3, 0.5, 0.7, 0.9])
    difference = paired_difference({p: v + 0.3 for p, v in reference.items()}, reference)
    assert difference is not None
    assert difference.above == 5
    assert difference.sign == 0


def test_a_difference_is_the_reverse_of_its_reverse() -> None:
    first = by_subject([0.2, 0.5, 0.9, 0.6, 0.7, 0.8])
    second = by_subject([0.4, 0.4, 0.1, 0.2, 0.3, 0.4])
    there, back = paired_difference(first, second), paired_difference(second, first)
    assert there is not None
    assert back is not None
    assert there.interval.mean == pytest.approx(-back.interval.mean)
    assert there.sign == -back.sign == 1
    assert there.above + back.above == 6


def test_only_pairs_that_both_have_count() -> None:
    values = {("a", 0): 0.9, ("a", 1): 0.1, ("b", 0): 0.5}
    reference = {("a", 0): 0.8, ("b", 0): 0.3, ("c", 0): 0.0}
    difference = paired_difference(values, reference)
    assert difference is not None
    assert difference.interval.subjects == 2
    assert difference.interval.mean == pytest.approx(0.15)
    assert paired_difference({("a", 0): 1.0}, {("b", 0): 1.0}) is None


def test_equal_scores_are_no_difference() -> None:
    values = by_subject([0.1 + 0.2, 0.7])
    difference = paired_difference(values, by_subject([0.3, 0.7]))
    assert difference is not None
    assert (difference.sign, difference.above) == (0, 0)


def test_p_is_that_of_the_subjects_means_where_there_are_enough() -> None:
    reference = {(f"s{n}", seed): 0.1 * n for n in range(6) for seed in range(2)}
    values = {(name, seed): v + 0.1 + 0.05 * seed for (name, seed), v in reference.items()}
    difference = paired_difference(values, reference)
    assert difference is not None
    # Two seeds of a subject are no two pairs.
    assert difference.p == 2.0**-5
    few = {pair: v for pair, v in values.items() if pair[0] != "s0"}
    of_few = paired_difference(few, reference)
    assert of_few is not None
    assert of_few.p is None


def test_p_of_a_difference_is_that_of_its_reverse() -> None:
    first = by_subject([0.2, 0.5, 0.9, 0.6, 0.7, 0.8])
    second = by_subject([0.4, 0.4, 0.1, 0.2, 0.3, 0.4])
    there, back = paired_difference(first, second), paired_difference(second, first)
    assert there is not None
    assert back is not None
    assert there.p == back.p
