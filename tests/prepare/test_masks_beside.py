import pytest

from idgen.prepare.masks_beside import masks_beside, named_as_mask


@pytest.mark.parametrize(
    "mask",
    [
        "00.mask.png",
        "00_mask.png",
        "00-masklabel.png",
        "00.jpg.mask.png",
        "00_MASK.PNG",
        "00-matte.webp",
        "00_alpha.tiff",
    ],
)
def test_names_of_masks(mask: str) -> None:
    assert masks_beside(["00.jpg", mask, "01.jpg", "mask.png"]) == {"00.jpg": [mask]}


@pytest.mark.parametrize("name", ["mask.png", "00mask.png", "00_mask.txt", "00_masked.png"])
def test_other_names_are_photos(name: str) -> None:
    assert named_as_mask(name) is None
    assert masks_beside(["00.jpg", name]) == {}


def test_a_mask_without_its_photo_is_a_photo() -> None:
    assert masks_beside(["carnival_mask.jpg", "00.jpg"]) == {}


def test_several_masks_of_one_photo_and_one_of_two() -> None:
    names = ["00.jpg", "00.mask.png", "00_mask.png"]
    assert masks_beside(names) == {"00.jpg": ["00.mask.png", "00_mask.png"]}
    shared = masks_beside(["00.jpg", "00.png", "00_mask.png"])
    assert shared == {"00.jpg": ["00_mask.png"], "00.png": ["00_mask.png"]}
