import numpy as np

from idgen.prepare.sheet.picture import SheetRow, draw_contact_sheet
from tests.prepare.pictures import picture, red


def row(seed: int, name: str = "a.png", height: int = 40, width: int = 56) -> SheetRow:
    image = picture(seed, height, width)
    background = np.full_like(image, (1, 2, 3))
    return SheetRow(name, image, red(image), background, [])


def colours(image: np.ndarray) -> set[int]:
    return set(np.unique(image.reshape(-1, 3) @ np.array([1 << 16, 1 << 8, 1])).tolist())


def test_photo_and_background_are_shown() -> None:
    sheet = draw_contact_sheet([row(1)])
    assert sheet.dtype == np.uint8
    shown = colours(sheet)
    assert colours(picture(1)) <= shown
    assert colours(np.array([[[1, 2, 3]]])) <= shown


def test_a_row_a_photo_of_any_shape() -> None:
    shapes = [(40, 56), (400, 33), (33, 400), (350, 450)]
    rows = [row(seed, f"{seed}.png", *shape) for seed, shape in enumerate(shapes)]
    heights = [draw_contact_sheet(rows[: count + 1]).shape[0] for count in range(len(rows))]
    assert heights == sorted(set(heights))
    assert len({draw_contact_sheet(rows[:count]).shape[1] for count in (1, 4)}) == 1


def test_the_outline_goes_with_the_mask() -> None:
    plain = row(1)
    other = SheetRow(plain.name, plain.photo, ~plain.mask, plain.background, [])
    assert (draw_contact_sheet([plain]) != draw_contact_sheet([other])).any()


def test_a_warning_stands_out() -> None:
    quiet = row(1)
    loud = SheetRow(quiet.name, quiet.photo, quiet.mask, quiet.background, ["is in 2 pieces"])
    before, after = draw_contact_sheet([quiet]), draw_contact_sheet([loud])
    assert before.shape == after.shape
    changed = (before != after).any(-1)
    assert changed.any()
    assert len(np.unique(after[changed], axis=0)) > 1


def test_names_of_every_kind_fit() -> None:
    names = ["x" * 300 + ".jpg", "line\nbreak.jpg", "\u540d\u524d.jpg", "\udcff.jpg", ""]
    shapes = {draw_contact_sheet([row(1, name)]).shape for name in names}
    assert len(shapes) == 1


def test_it_is_drawn_the_same_every_time() -> None:
    np.testing.assert_array_equal(draw_contact_sheet([row(1)]), draw_contact_sheet([row(1)]))
