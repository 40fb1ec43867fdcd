import numpy as np
import pytest

from idgen.masks import Mask, Picture
from idgen.metrics.halves import half_masks

SIDE = 64


def segment(picture: Picture) -> Mask:
    """All that is not black."""
    return np.asarray(picture.any(axis=2))


def drawn(*boxes: tuple[int, int, int, int]) -> tuple[Picture, Mask]:
    picture: Picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    for top, left, bottom, right in boxes:
        picture[top:bottom, left:right] = 200
    return picture, segment(picture)


LEFT, RIGHT = (20, 8, 40, 24), (30, 38, 50, 60)


def test_each_half_has_its_own() -> None:
    picture, whole = drawn(LEFT, RIGHT)
    left, right = half_masks(picture, whole, segment)
    assert left is not None
    assert right is not None
    assert np.array_equal(left, drawn(LEFT)[1])
    assert np.array_equal(right, drawn(RIGHT)[1])


def test_a_half_is_shown_in_the_middle() -> None:
    shown: list[tuple[int, ...]] = []

    def noting(picture: Picture) -> Mask:
        shown.append(picture.shape)
        columns = np.flatnonzero(segment(picture)[:, 16:48].any(axis=0))
        shown.append((int(columns[0]), int(columns[-1]) + 1))
        return segment(picture)

    half_masks(*drawn(LEFT, RIGHT), noting)
    assert shown == [(64, 64, 3), (8, 24), (64, 64, 3), (6, 28)]


@pytest.mark.parametrize("box", [LEFT, RIGHT])
def test_an_empty_half_has_none(box: tuple[int, int, int, int]) -> None:
    masks = half_masks(*drawn(box), segment)
    assert [mask is not None for mask in masks] == [box is LEFT, box is RIGHT]


def test_what_the_whole_picture_does_not_show_is_none() -> None:
    picture, _ = drawn(LEFT, RIGHT)
    masks = half_masks(picture, drawn(LEFT)[1], segment)
    assert masks[0] is not None
    assert masks[1] is None
    assert half_masks(picture, segment(picture), lambda shown: None) == (None, None)


def test_a_speck_is_none() -> None:
    assert half_masks(*drawn(LEFT, (30, 40, 33, 43)), segment)[1] is None


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="whole"):
        half_masks(drawn(LEFT)[0], np.zeros((8, 8), np.bool_), segment)
