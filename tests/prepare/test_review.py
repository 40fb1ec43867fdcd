import numpy as np
import pytest

from idgen.prepare.review import mask_warnings


def mask_of(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((100, 120), dtype=bool)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = True
    return mask


@pytest.mark.parametrize(
    ("mask", "found"),
    [
        (mask_of((20, 20, 80, 90)), []),
        (mask_of((0, 0, 60, 60)), []),
        (mask_of((20, 20, 80, 90), (0, 0, 5, 5)), []),
        (mask_of((50, 50, 60, 60)), ["only 0.8 %"]),
        (mask_of((0, 2, 100, 118)), ["97 %"]),
        (mask_of((20, 20, 60, 50), (20, 70, 60, 110)), ["2 pieces"]),
        (mask_of((40, 0, 60, 120), (0, 50, 100, 70)), ["four borders"]),
        (mask_of((0, 0, 100, 117), (0, 117, 99, 120)), ["100 %", "four borders"]),
        (mask_of((0, 0, 9, 9), (91, 111, 100, 120)), ["only 1.4 %", "2 pieces", "four borders"]),
    ],
)
def test_what_looks_wrong_is_named(mask: np.ndarray, found: list[str]) -> None:
    warnings = mask_warnings(mask)
    assert len(warnings) == len(found)
    for warning, part in zip(warnings, found, strict=True):
        assert part in warning
