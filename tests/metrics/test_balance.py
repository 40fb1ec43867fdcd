import pytest

from idgen.metrics.balance import balance


def test_balance_wants_both() -> None:
    assert balance(0.36, 0.25) == pytest.approx(0.3)
    assert balance(0.9, 0.1) < balance(0.5, 0.5)
    assert balance(-0.2, 0.9) == balance(0.9, -0.2) == 0.0


@pytest.mark.parametrize("factor", [0.1, 3.0])
def test_the_order_of_two_models_does_not_depend_on_a_scores_scale(factor: float) -> None:
    pairs = [(0.4, 0.3), (0.7, 0.15), (0.5, 0.25)]
    order = sorted(pairs, key=lambda pair: balance(*pair))
    scaled = sorted(pairs, key=lambda pair: balance(pair[0], factor * pair[1]))
    assert order == scaled
