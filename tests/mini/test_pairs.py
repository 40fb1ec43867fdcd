import random

import numpy as np

from idgen.mini.pair_references import half_pictures, side_by_side
from idgen.mini.pairs import Standing, draw_pair, sample_place

LEFT, RIGHT = ("robot", 7), ("cat", 8)


def test_each_stands_whole_in_its_half() -> None:
    for number in range(12):
        drawing = side_by_side(LEFT, RIGHT, "snow", f"{number}")
        left, right = drawing.masks
        assert min(left.sum(), right.sum()) > 0.03 * left.size
        assert left[:, :32].sum() > 0.95 * left.sum()
        assert right[:, 32:].sum() > 0.95 * right.sum()
        beside = ~(left | right)
        rows, columns = np.flatnonzero((~beside).any(1)), np.flatnonzero((~beside).any(0))
        assert rows[0] > 0
        assert columns[0] > 0
        assert columns[-1] < 63


def test_beside_them_is_the_background_and_no_place_is_of_both() -> None:
    drawing = side_by_side(LEFT, RIGHT, "bricks", "one")
    left, right = drawing.masks
    assert not (left & right).any()
    unlike = (drawing.picture != drawing.background).any(axis=2)
    # An edge that covers less than half of a pixel changes it too.
    assert unlike[left | right].mean() > 0.95
    grown = np.zeros_like(left)
    for down in (-1, 0, 1):
        for along in (-1, 0, 1):
            grown |= np.roll(left | right, (down, along), (0, 1))
    assert not unlike[~grown].any()


def test_the_one_on_the_right_covers_the_other() -> None:
    pose = sample_place(random.Random(0), right=False)
    drawing = draw_pair(Standing(*LEFT, pose), Standing("robot", 9, pose), "rug", 3)
    alone = draw_pair(Standing("robot", 9, pose), Standing("robot", 9, pose), "rug", 3)
    assert np.array_equal(drawing.masks[1], alone.masks[1])
    assert drawing.masks[0].sum() < 0.2 * drawing.masks[1].sum()


def test_pictures_of_one_alone_are_in_both_halves() -> None:
    drawings = half_pictures("cat", 8)
    assert [bool(d.masks[0][:, 32:].any()) for d in drawings] == [False, True, False, True]
    assert not any(d.masks[1].any() for d in drawings)
    again = half_pictures("cat", 8)
    assert all(np.array_equal(a.picture, b.picture) for a, b in zip(drawings, again, strict=True))
