import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from idgen.prepare.views import crop_box, square, views
from tests.prepare.pictures import picture, red


def mask_of(height: int, width: int, rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros((height, width), dtype=bool)
    mask[rows, columns] = True
    return mask


@pytest.mark.parametrize(
    ("mask", "box"),
    [
        (mask_of(40, 100, slice(10, 30), slice(70, 90)), (60, 0, 40)),
        (mask_of(40, 100, slice(10, 30), slice(40, 50)), (25, 0, 40)),
        (mask_of(40, 100, slice(10, 30), slice(0, 5)), (0, 0, 40)),
        (mask_of(100, 40, slice(60, 90), slice(0, 40)), (0, 55, 40)),
        (mask_of(50, 50, slice(0, 9), slice(0, 9)), (0, 0, 50)),
        (mask_of(40, 100, slice(0, 0), slice(0, 0)), (30, 0, 40)),
    ],
    ids=["right", "middle", "left edge", "upright", "square", "empty"],
)
def test_crop_box_by_hand(mask: np.ndarray, box: tuple[int, int, int]) -> None:
    assert crop_box(mask) == box


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), min_size=1),
)
def test_no_other_square_holds_more(height: int, width: int, on: list[tuple[int, int]]) -> None:
    mask = np.zeros((height, width), dtype=bool)
    for row, column in on:
        mask[row % height, column % width] = True
    left, top, side = crop_box(mask)
    assert side == min(height, width)
    assert 0 <= left <= width - side
    assert 0 <= top <= height - side
    most = max(
        mask[y : y + side, x : x + side].sum()
        for y in range(height - side + 1)
        for x in range(width - side + 1)
    )
    assert mask[top : top + side, left : left + side].sum() == most


def test_a_square_picture_of_the_right_size_stays_as_it_is() -> None:
    image = picture(1, 32, 32)
    view = square(image, red(image), 32)
    assert view.shape == (3, 32, 32)
    assert view.dtype == torch.float32
    restored = ((view + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(restored, image)


def test_range_is_minus_one_to_one() -> None:
    image = np.zeros((20, 20, 3), np.uint8)
    image[:10] = 255
    view = square(image, image[..., 0] > 0, 64)
    assert view.min() == -1
    assert view.max() == 1


def test_nothing_beyond_the_square_is_seen() -> None:
    image = np.zeros((20, 60, 3), np.uint8)
    image[:, 40:] = 255
    mask = mask_of(20, 60, slice(0, 20), slice(20, 40))
    assert crop_box(mask) == (20, 0, 20)
    assert (square(image, mask, 7) == -1).all()


def test_photo_and_background_stay_in_register() -> None:
    image = picture(2, 40, 90)
    mask = red(image)
    background = image.copy()
    background[mask] = 0
    difference = (square(image, mask, 40) - square(background, mask, 40)).abs().sum(0).numpy()
    left, top, side = crop_box(mask)
    np.testing.assert_array_equal(difference > 0, mask[top : top + side, left : left + side])


def test_names_of_views() -> None:
    assert [(view.name, view.flip) for view in views(True)] == [("plain", False), ("flip", True)]
    assert [(view.name, view.flip) for view in views(False)] == [("plain", False)]
