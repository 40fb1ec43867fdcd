import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from idgen.masks import Mask, Picture
from idgen.prepare.buckets import Size
from idgen.prepare.views import (
    Frame,
    batches,
    crop_box,
    cut_out,
    cut_square,
    frames_of,
    framing_of,
    list_views,
    plain_view,
    show,
    show_mask,
    view_named,
)
from tests.prepare.pictures import picture, red


def square(image: Picture, mask: Mask, side: int) -> torch.Tensor:
    return plain_view(image, mask, Size(side, side))


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


def test_a_subject_longer_than_the_shorter_side_gets_a_square_of_its_length() -> None:
    mask = mask_of(40, 100, slice(10, 30), slice(20, 80))
    assert crop_box(mask) == (20, -10, 60)
    image = np.random.default_rng(0).integers(0, 256, (40, 100, 3), np.uint8)
    shown = square(image, mask, 60)
    rows = [*range(9, -1, -1), *range(40), *range(39, 29, -1)]
    expected = torch.from_numpy(image[rows, 20:80]).permute(2, 0, 1) / 127.5 - 1
    torch.testing.assert_close(shown, expected)


def test_a_speck_does_not_place_the_square() -> None:
    mask = mask_of(40, 100, slice(10, 30), slice(70, 90))
    mask[0, 0] = True
    assert crop_box(mask) == (60, 0, 40)


def test_a_square_beyond_the_edge_is_mirrored() -> None:
    image = np.arange(6, dtype=np.uint8).reshape(2, 3)
    np.testing.assert_array_equal(cut_square(image, 0, -1, 3), image[[0, 0, 1]])
    np.testing.assert_array_equal(cut_square(image, 1, 0, 2), image[:, 1:])


@st.composite
def boxes(draw: st.DrawFn) -> np.ndarray:
    """A mask of one box in a picture of any shape."""
    height, width = draw(st.integers(2, 60)), draw(st.integers(2, 60))
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    mask = np.zeros((height, width), dtype=bool)
    bottom, right = draw(st.integers(top + 1, height)), draw(st.integers(left + 1, width))
    mask[top:bottom, left:right] = True
    return mask


@settings(max_examples=100, deadline=None)
@given(boxes(), st.text("0123456789abcdef", min_size=4, max_size=4))
def test_every_view_keeps_the_whole_subject(mask: np.ndarray, digest: str) -> None:
    left, top, side = crop_box(mask)
    assert min(mask.shape) <= side <= max(mask.shape)
    views = list_views(True, 3)
    frames = frames_of(views, mask, digest)
    assert frames == [frame for view in views for frame in frames_of([view], mask, digest)]
    for view, frame in zip(views, frames, strict=True):
        cut = cut_square(mask.astype(np.uint8), frame.left, frame.top, frame.width)
        assert cut.shape == (frame.width, frame.width)
        rows = slice(max(frame.top, 0), frame.top + frame.width)
        assert mask[rows, max(frame.left, 0) : frame.left + frame.width].sum() == mask.sum()
        if view.number is None:
            assert (frame.left, frame.top, frame.width) == (left, top, side)
            assert frame.flip == (view.name == "flip")
        elif side == min(mask.shape):
            assert 0 <= frame.left <= mask.shape[1] - frame.width
            assert 0 <= frame.top <= mask.shape[0] - frame.width


@settings(max_examples=100, deadline=None)
@given(boxes(), st.floats(0.4, 2.5))
def test_views_of_any_aspect_keep_the_whole_subject(mask: np.ndarray, aspect: float) -> None:
    for frame in frames_of(list_views(True, 3), mask, "a", aspect):
        assert cut_out(mask.astype(np.uint8), frame).shape == (frame.height, frame.width)
        rows = slice(max(frame.top, 0), frame.top + frame.height)
        assert mask[rows, max(frame.left, 0) : frame.left + frame.width].sum() == mask.sum()
        # Sides are whole pixels.
        assert abs(frame.width - aspect * frame.height) <= max(1.0, aspect)


def test_a_view_in_the_photos_shape_shows_all_of_it() -> None:
    mask = mask_of(40, 60, slice(10, 30), slice(50, 60))
    plain, flipped = frames_of(list_views(True), mask, "a", aspect=1.5)
    assert plain == Frame(0, 0, 60, 40)
    assert flipped == Frame(0, 0, 60, 40, flip=True)


def test_a_panorama_is_cut_around_its_subject() -> None:
    mask = mask_of(40, 200, slice(10, 30), slice(150, 170))
    [frame] = frames_of(list_views(False), mask, "a", aspect=2.0)
    assert frame == Frame(120, 0, 80, 40)


def test_augmented_views_vary_by_photo_and_number() -> None:
    mask = mask_of(300, 400, slice(120, 200), slice(180, 260))
    frames = [f for digest in ("a", "b") for f in frames_of(list_views(True, 20)[2:], mask, digest)]
    assert len({(frame.left, frame.top, frame.width) for frame in frames}) == len(frames)
    assert {frame.flip for frame in frames} == {True, False}
    sides = [frame.width for frame in frames]
    assert 180 <= min(sides) < 210
    assert 270 < max(sides) <= 300
    unflipped = frames_of(list_views(False, 20)[1:], mask, "a")
    assert not any(frame.flip for frame in unflipped)
    assert [frame.width for frame in unflipped] == sides[:20]


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


@settings(max_examples=100, deadline=None)
@given(boxes(), st.text("0123456789abcdef", min_size=4, max_size=4), st.data())
def test_the_subject_keeps_its_area_in_every_view(
    mask: np.ndarray, digest: str, data: st.DataObject
) -> None:
    for frame in frames_of(list_views(True, 2), mask, digest):
        size = data.draw(st.integers(1, frame.width))
        shares = show_mask(mask, frame, size, size)
        assert shares.shape == (1, size, size)
        assert 0 <= shares.min() <= shares.max() <= 1
        area = float(shares.double().mean()) * frame.width**2
        assert area == pytest.approx(mask.sum(), rel=1e-4)


def test_shares_are_means_over_the_views_own_places() -> None:
    mask = np.random.default_rng(0).random((30, 50)) < 0.3
    shares = show_mask(mask, Frame(10, 3, 24, 24, flip=True), 4, 8)
    cut = torch.from_numpy(mask[3:27, 10:34][:, ::-1].copy()).float()
    expected = cut.view(4, 6, 8, 3).mean(dim=(1, 3))
    torch.testing.assert_close(shares, expected[None])


def test_there_is_no_subject_beyond_the_photo() -> None:
    mask = mask_of(40, 100, slice(0, 30), slice(20, 80))
    assert crop_box(mask) == (20, -10, 60)
    left, top, side = crop_box(mask)
    shares = show_mask(mask, Frame(left, top, side, side), 6, 6)
    assert shares[0, :, 0].tolist() == [0, 1, 1, 1, 0, 0]


def test_names_of_views() -> None:
    names = [[view.name for view in list_views(flip, 2)] for flip in (True, False)]
    assert names[0][:2] == ["plain", "flip"]
    assert names[1][0] == "plain"
    # What may be mirrored is another view than what may not.
    assert len({*names[0], *names[1]}) == 6
    assert [view.name for view in list_views(True)] == ["plain", "flip"]


def test_more_views_leave_the_plain_ones_in_their_batches() -> None:
    assert batches(list_views(True)) == [[0, 1]]
    assert batches(list_views(True, 6)) == [[0, 1], [2, 3, 4, 5], [6, 7]]
    assert batches(list_views(False)) == [[0]]
    assert batches(list_views(False, 1)) == [[0], [1]]


@pytest.mark.parametrize("flip", [False, True])
def test_a_framing_says_what_a_view_shows(flip: bool) -> None:
    """Resizing the whole photo, mirrored or not, and cutting there gives the view."""
    picture = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    picture = cv2.GaussianBlur(picture, (0, 0), 4)
    frame = Frame(10, 5, 30, 30, flip)
    height, width, row, column, *target = framing_of(frame, 40, 60, Size(90, 90))
    assert (height, width, target) == (40, 60, [90, 90])
    whole = Image.fromarray(picture[:, ::-1] if flip else picture).resize((180, 120))
    cut = np.asarray(whole)[int(row) : int(row) + 90, int(column) : int(column) + 90]
    shown = (show(picture, frame, Size(90, 90)).permute(1, 2, 0).numpy() + 1) * 127.5
    assert np.abs(shown - cut)[4:-4, 4:-4].max() < 6


def test_a_framing_of_a_wide_view() -> None:
    frame = Frame(10, 5, 40, 20)
    assert framing_of(frame, 30, 60, Size(40, 80)) == (30, 60, 10, 20, 40, 80)


def test_beyond_the_photo_a_framing_begins_at_its_edge() -> None:
    assert framing_of(Frame(-5, 0, 50, 50), 50, 40, Size(100, 100)) == (50, 40, 0, 0, 100, 100)


@pytest.mark.parametrize("flip", [False, True])
def test_views_are_known_by_their_names(flip: bool) -> None:
    views = list_views(flip, augmented=12)
    assert tuple(view_named(view.name) for view in views) == views
