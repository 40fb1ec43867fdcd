"""Holm's correction (1979) for the number of comparisons."""

from collections.abc import Sequence


def holm(values: Sequence[float]) -> list[float]:
    """Adjusted p-values: where one is 0.05 or less, its difference holds for the whole family.

    The smallest of m is multiplied by m, the next by m - 1, and so on; none is smaller than the one
    before it. The chance that any true null hypothesis of the family is rejected stays below the
    level, whatever depends on what.

    Args:
        values: p-values in [0, 1], in any order.

    Returns:
        The adjusted ones, in the same order, 1 at most.

    Raises:
        ValueError: If a value is out of range.
    """
    if not all(0 <= value <= 1 for value in values):
        raise ValueError("values: p-values are from 0 to 1")
    adjusted = [0.0] * len(values)
    least = 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=lambda k: values[k])):
        least = max(least, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = least
    return adjusted
