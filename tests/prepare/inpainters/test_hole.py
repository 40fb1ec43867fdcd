import cv2
import numpy as np
import pytest

from idgen.errors import UserError
from idgen.prepare import Hole, OpenCVInpainter
from idgen.prepare.inpainters.frame import inside_frame
from idgen.prepare.inpainters.hole import grown
from idgen.prepare.inpainters.inpainter import dilate
from tests.prepare.pictures import CPU

GROUND = np.array((150, 160, 140))


def ground(height: int = 240, width: int = 320) -> np.ndarray:
    """A slightly uneven ground, lighter to the right."""
    noise = np.random.default_rng(0).normal(0, 2, (height, width, 1))
    slope = np.linspace(0, 30, width)[None, :, None]
    return (GROUND + slope + noise).clip(0, 255).astype(np.uint8)


def ellipse(shape: tuple[int, ...], centre: tuple[int, int], radii: tuple[int, int]) -> np.ndarray:
    drawn = np.zeros(shape[:2], np.uint8)
    cv2.ellipse(drawn, centre, radii, 0, 0, 360, 1, -1)
    return drawn > 0


def test_a_shadow_goes_with_its_subject() -> None:
    picture = ground()
    subject = ellipse(picture.shape, (150, 110), (40, 40))
    shadow = ellipse(picture.shape, (170, 150), (55, 14)) & ~subject
    picture[shadow] = (picture[shadow] * 0.6).astype(np.uint8)
    picture[subject] = (220, 40, 40)
    hole = grown(picture, subject, dilate(subject, 0.06), 1.0)
    assert hole[shadow].mean() > 0.95
    # Nothing else: the ground beside both stays.
    assert (hole & ~dilate(subject | shadow, 0.15)).sum() < 30


def test_what_the_mask_left_out_of_the_subject_goes_too() -> None:
    picture = ground()
    subject = ellipse(picture.shape, (150, 120), (40, 40))
    picture[subject] = (220, 40, 40)
    picture[110:130, 185:215] = (220, 40, 40)  # a handle
    hole = grown(picture, subject, dilate(subject, 0.06), 1.0)
    assert hole[112:128, 188:213].mean() > 0.9


def test_things_of_other_looks_and_places_stay() -> None:
    picture = ground()
    subject = ellipse(picture.shape, (150, 120), (40, 40))
    picture[subject] = (220, 40, 40)
    picture[20:60, 250:300] = (220, 40, 40)  # of its colour, far away
    picture[100:140, 196:230] = (40, 90, 220)  # beside it, of another colour
    start = dilate(subject, 0.06)
    hole = grown(picture, subject, start, 1.0)
    assert not hole[20:60, 250:300].any()
    assert hole[105:135, 200:225].mean() < 0.1
    assert (hole & start).sum() == start.sum()


def test_a_restless_ground_is_not_taken_for_shadow() -> None:
    squares = (np.indices((240, 320)) // 12).sum(axis=0) % 2
    picture = np.where(squares[..., None] > 0, (180, 180, 180), (90, 90, 90)).astype(np.uint8)
    subject = ellipse(picture.shape, (150, 120), (40, 40))
    picture[subject] = (220, 40, 40)
    start = dilate(subject, 0.06)
    assert grown(picture, subject, start, 1.0).sum() < 1.1 * start.sum()


@pytest.mark.parametrize("sides", [(30, 30, 0, 0), (0, 0, 24, 24), (12, 12, 12, 12), (0, 40, 0, 0)])
def test_bars_are_found(sides: tuple[int, int, int, int]) -> None:
    top, _, left, _ = sides
    picture = cv2.copyMakeBorder(ground(120, 160), *sides, cv2.BORDER_CONSTANT, value=(5, 5, 5))
    found = inside_frame(np.asarray(picture, dtype=np.uint8))
    assert found == (top, top + 120, left, left + 160)


def test_sky_and_paper_are_no_bars() -> None:
    paper = np.full((120, 160, 3), 250, np.uint8)
    paper[ellipse(paper.shape, (80, 70), (30, 30))] = (200, 30, 30)
    assert inside_frame(paper) == (0, 120, 0, 160)
    hills = ground(120, 160)
    for column in range(160):
        hills[: 30 + column // 4, column] = (120, 180, 240)
    assert inside_frame(hills) == (0, 120, 0, 160)


def test_bars_are_not_smeared_inwards() -> None:
    inner = ground(120, 160)
    subject = ellipse(inner.shape, (80, 100), (30, 26))  # reaches over the lower edge
    inner[subject] = (220, 40, 40)
    picture = np.zeros((180, 160, 3), np.uint8)
    picture[30:150] = inner
    mask = np.zeros((180, 160), np.bool_)
    mask[30:150] = subject
    with OpenCVInpainter().loaded(CPU) as smears, OpenCVInpainter(frames=True).loaded(CPU) as keeps:
        before, after = smears(picture, mask), keeps(picture, mask)
    truth = ground(120, 160).astype(int)
    errors = [np.abs(b[30:150][subject] - truth[subject]).mean() for b in (before, after)]
    assert errors[1] < 8 < errors[0]
    assert (after[:30] == 0).all()
    assert (after[150:] == 0).all()


def test_what_was_added_later_changes_no_key_unless_it_is_used() -> None:
    plain = OpenCVInpainter()
    assert OpenCVInpainter(grow=0.0, frames=False).identity == plain.identity
    assert len({one.identity for one in (plain, OpenCVInpainter(grow=0.2),
                                         OpenCVInpainter(frames=True))}) == 3  # fmt: skip


def test_sizes_below_nought_are_refused() -> None:
    for dilation, grow in ((-0.1, 0.0), (0.06, -1.0)):
        with pytest.raises(UserError, match="dilation and grow must be 0 or more"):
            Hole(dilation, grow)
