import numpy as np
import pytest
import torch
from PIL import Image

from idgen.prepare.sheet.review import Look, look_of, mask_warnings, set_warnings
from tests.prepare.pictures import picture, red


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
        (mask_of((0, 2, 100, 118)), ["97 %", "upper and the lower border"]),
        (mask_of((20, 20, 60, 50), (20, 70, 60, 110)), ["2 pieces"]),
        (mask_of((40, 0, 60, 120)), ["left and the right border"]),
        (mask_of((0, 40, 100, 60)), ["upper and the lower border"]),
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


def looks(*shares: float) -> list[Look]:
    """Photos that have nothing but their masks' sizes to compare."""
    random = np.random.default_rng(0)
    return [Look(share, random.bytes(8).hex(), (0, 0, 0)) for share in shares]


def warned(looks: list[Look], subjects: torch.Tensor | None = None) -> list[list[str]]:
    subjects = torch.ones(len(looks), 4) if subjects is None else subjects
    return set_warnings([f"{number}.png" for number in range(len(looks))], looks, subjects)


def test_a_mask_of_another_size_stands_out() -> None:
    assert warned(looks(0.2, 0.3, 0.1, 0.6)) == [[]] * 4
    found = warned(looks(0.2, 0.3, 0.04, 0.25))
    assert [len(warnings) for warnings in found] == [0, 0, 1, 0]
    assert "4.0 %" in found[2][0]
    assert warned(looks(0.2, 0.01)) == [[], []]


def test_another_subject_stands_out() -> None:
    subjects = torch.eye(4)[[0, 0, 0, 1, 0]] + 0.1 * torch.eye(4)[[1, 2, 3, 0, 2]]
    found = warned(looks(*[0.2] * 5), subjects)
    assert [len(warnings) for warnings in found] == [0, 0, 0, 1, 0]
    assert "unlike" in found[3][0]
    assert warned(looks(*[0.2] * 3), subjects[2:]) == [[]] * 3


def test_near_copies_are_named() -> None:
    first, other = picture(1, 90, 120), picture(2, 90, 120)
    again = np.asarray(Image.fromarray(first).resize((80, 60))).copy()
    brighter = (first.astype(int) + 12).clip(0, 255).astype(np.uint8)
    images = [first, other, again, brighter, first[:, ::-1].copy()]
    found = warned([look_of(image, red(first)[:1, :1]) for image in images])
    assert found[0] == found[1] == found[4] == []
    assert found[2] == found[3] == ["nearly the same photo as '0.png'"]


def test_plain_photos_of_other_colours_are_no_copies() -> None:
    images = [np.full((40, 40, 3), colour, np.uint8) for colour in ((200, 0, 0), (0, 0, 200))]
    assert warned([look_of(image, image[..., 0] > 300) for image in images]) == [[], []]
