from typing import Literal

import cv2
import numpy as np
import pytest

from idgen.errors import UserError
from idgen.prepare import OpenCVInpainter
from idgen.prepare.inpainters.inpainter import dilate
from tests.prepare.pictures import CPU, one_line, picture, red


def disk(side: int, radius: float) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - side // 2
    return np.asarray(x * x + y * y <= radius * radius)


def inpaint(inpainter: OpenCVInpainter, image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    with inpainter.loaded(CPU) as run:
        result = run(image, mask)
    assert result.shape == image.shape
    assert result.dtype == np.uint8
    return result


def test_dilation_is_a_distance_in_the_subjects_size() -> None:
    mask = disk(41, 8)
    reach = 0.2 * np.sqrt(mask.sum())
    y, x = np.nonzero(mask)
    rows, columns = np.mgrid[:41, :41]
    distance = np.sqrt(
        ((rows[..., None] - y) ** 2 + (columns[..., None] - x) ** 2).min(-1).astype(float)
    )
    np.testing.assert_array_equal(dilate(mask, 0.2), distance <= reach)


def test_dilation_reaches_a_pixel_at_least_and_none_at_zero() -> None:
    mask = np.zeros((9, 9), bool)
    mask[4, 4] = True
    assert dilate(mask, 0.01).sum() == 5
    np.testing.assert_array_equal(dilate(mask, 0), mask)


@pytest.mark.parametrize("side", [96, 1100])
def test_a_plain_ground_is_restored_and_the_rest_untouched(side: int) -> None:
    draw = np.random.default_rng(0)
    truth = np.empty((side, side, 3), np.uint8)
    truth[:] = (40, 120, 200)
    frame = ~disk(side, side * 0.4)
    truth[frame] = draw.integers(0, 256, (int(frame.sum()), 3))
    mask = disk(side, side * 0.2)
    image = truth.copy()
    image[mask] = (250, 10, 10)
    result = inpaint(OpenCVInpainter(), image, mask)
    hole = dilate(mask, 0.06)
    np.testing.assert_array_equal(result[~hole], image[~hole])
    assert np.abs(result[hole].astype(int) - truth[hole]).mean() < 6


@pytest.mark.parametrize("shape", [(40, 56), (700, 900)])
def test_nothing_of_the_subject_is_left(shape: tuple[int, int]) -> None:
    image = picture(4, *shape)
    mask = red(image)
    result = inpaint(OpenCVInpainter(), image, mask)
    ground = image[~dilate(mask, 0.06)].astype(int)
    filled = result[mask].astype(int)
    assert (filled >= ground.min(0) - 12).all()
    assert (filled <= ground.max(0) + 12).all()


def test_a_rim_that_the_mask_missed_goes_with_it() -> None:
    side = 200
    image = np.full((side, side, 3), (30, 160, 60), np.uint8)
    image[disk(side, 52)] = (250, 10, 10)
    result = inpaint(OpenCVInpainter(dilation=0.06), image, disk(side, 50))
    assert (result[..., 0] < 60).all()
    leaking = inpaint(OpenCVInpainter(dilation=0), image, disk(side, 50))
    assert (leaking[..., 0] > 100).any()


def test_a_large_photo_is_filled_at_a_bounded_size() -> None:
    image = np.full((3000, 4000, 3), (30, 160, 60), np.uint8)
    mask = np.zeros((3000, 4000), bool)
    mask[500:2500, 1000:3000] = True
    image[mask] = (250, 10, 10)
    result = inpaint(OpenCVInpainter(), image, mask)
    np.testing.assert_array_equal(result[:200], image[:200])
    assert np.abs(result[mask].astype(int) - (30, 160, 60)).mean() < 15


def test_a_subject_that_leaves_no_background() -> None:
    mask = np.ones((64, 64), bool)
    mask[0, 0] = False
    with pytest.raises(UserError, match="no background is left") as caught:
        inpaint(OpenCVInpainter(), np.zeros((64, 64, 3), np.uint8), mask)
    one_line(caught.value)


def test_it_repeats_itself_to_the_bit() -> None:
    image = picture(4, 600, 800)
    first, second = (inpaint(OpenCVInpainter(), image, red(image)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_identity_is_every_setting() -> None:
    identities = {
        inpainter.identity
        for inpainter in (
            OpenCVInpainter(),
            OpenCVInpainter(method="telea"),
            OpenCVInpainter(radius=4),
            OpenCVInpainter(dilation=0.1),
            OpenCVInpainter(long_side=256),
        )
    }
    assert len(identities) == 5
    assert OpenCVInpainter().identity == OpenCVInpainter(radius=3).identity


@pytest.mark.parametrize("settings", [{"radius": 0.0}, {"dilation": -0.1}, {"long_side": 8}])
def test_values_out_of_range(settings: dict[str, float]) -> None:
    with pytest.raises(UserError, match="OpenCVInpainter") as caught:
        OpenCVInpainter(**settings)  # type: ignore[arg-type]
    one_line(caught.value)


@pytest.mark.parametrize("shape", [(5, 3), (9, 40), (64, 64), (150, 401)])
def test_reconstruction_fills_pictures_of_any_size(shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), (30, 160, 60), np.uint8)
    mask = np.zeros(shape, bool)
    mask[1 : shape[0] // 2 + 1, 1 : shape[1] // 2 + 1] = True
    image[mask] = (250, 10, 10)
    result = inpaint(OpenCVInpainter("fsr", dilation=0), image, mask)
    np.testing.assert_array_equal(result[~mask], image[~mask])
    assert np.abs(result[mask].astype(int) - (30, 160, 60)).max() <= 2


def test_reconstruction_carries_a_pattern_on_and_sees_nothing_of_the_subject() -> None:
    y, x = np.mgrid[:64, :64]
    wave = 128 + 90 * np.sin(2 * np.pi * (x + 2 * y) / 12)
    truth = np.stack([wave, wave, 255 - wave], axis=-1).round().astype(np.uint8)
    mask = disk(64, 14)
    images = [np.where(mask[..., None], np.uint8(level), truth) for level in (0, 255)]

    def error(method: Literal["fsr", "navier-stokes"]) -> float:
        found = inpaint(OpenCVInpainter(method), images[0], mask)
        return float(np.abs(found[mask].astype(int) - truth[mask]).mean())

    assert error("fsr") < 0.5 * error("navier-stokes")
    one, other = (inpaint(OpenCVInpainter("fsr"), image, mask) for image in images)
    np.testing.assert_array_equal(one, other)


def test_an_opencv_without_reconstruction_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "xphoto", raising=False)
    with pytest.raises(
        UserError, match="--force-reinstall opencv-contrib-python-headless"
    ) as caught:
        OpenCVInpainter("fsr")
    one_line(caught.value)
    OpenCVInpainter()
