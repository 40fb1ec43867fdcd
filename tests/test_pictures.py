import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from idgen import pictures
from idgen.errors import UserError
from idgen.pictures import PromptRow, captioned_grid, save_png

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def plain(colour: tuple[int, int, int], height: int = 64, width: int = 64) -> Tensor:
    return torch.tensor(colour, dtype=torch.uint8)[:, None, None].expand(3, height, width)


def box(grid: Image.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Left, top, width and height of all pixels of one colour."""
    rows, columns = np.nonzero((np.asarray(grid) == colour).all(axis=2))
    assert len(rows), f"nothing is {colour}"
    left, top = columns.min(), rows.min()
    return int(left), int(top), int(columns.max() - left + 1), int(rows.max() - top + 1)


def has_ink(grid: Image.Image, top: int, bottom: int) -> bool:
    return bool((np.asarray(grid)[top:bottom].max(axis=2) < 128).any())


@pytest.mark.parametrize(
    ("side", "shown"), [(20, 140), (64, 128), (100, 200), (128, 128), (200, 200), (512, 256)]
)
def test_small_drawings_grow_by_whole_factors_and_large_ones_shrink(side: int, shown: int) -> None:
    grid = captioned_grid([PromptRow("a dog", [plain(RED, side, side)])])
    assert box(grid, RED)[2:] == (shown, shown)


def test_a_drawing_keeps_its_ratio() -> None:
    grid = captioned_grid([PromptRow("a dog", [plain(RED, 512, 256)])])
    assert box(grid, RED)[2:] == (128, 256)


def test_drawings_stand_beside_each_other_under_their_caption() -> None:
    rows = [PromptRow("a dog", [plain(RED), plain(GREEN), *[plain((200, 200, 200))] * 3])]
    rows.append(PromptRow("a cat", [plain(BLUE)]))
    grid = captioned_grid(rows)
    red, green, blue = box(grid, RED), box(grid, GREEN), box(grid, BLUE)
    assert red[1] == green[1]
    assert green[0] > red[0] + red[2]
    assert blue[0] == red[0]
    assert has_ink(grid, 0, red[1])
    assert has_ink(grid, red[1] + red[3], blue[1])
    assert grid.mode == "RGB"
    assert grid.getpixel((0, 0)) == (255, 255, 255)


def test_a_drawing_is_shown_as_it_is() -> None:
    drawing = torch.randint(256, (3, 128, 128), dtype=torch.uint8)
    drawing[:, :, 0] = torch.tensor(RED, dtype=torch.uint8)[:, None]
    drawing[:, :, -1] = torch.tensor(RED, dtype=torch.uint8)[:, None]
    grid = captioned_grid([PromptRow("a dog", drawing[None])])
    left, top, width, height = box(grid, RED)
    shown = np.asarray(grid)[top : top + height, left : left + width]
    np.testing.assert_array_equal(shown, drawing.permute(1, 2, 0).numpy())


def test_title_note_and_photos_each_add_to_the_picture() -> None:
    row = PromptRow("a dog", [plain(RED)] * 4)
    noted = PromptRow("a dog", [plain(RED)] * 4, note="DINO 0.612")
    least = captioned_grid([row])
    assert captioned_grid([noted]).height > least.height
    assert captioned_grid([row], title="step 300").height > least.height
    grid = captioned_grid([row], references=[plain(GREEN, 300, 200)])
    green = box(grid, GREEN)
    assert green[1] + green[3] < box(grid, RED)[1]
    assert green[3] == 128
    assert green[2] == pytest.approx(128 * 200 / 300, abs=1)


@pytest.mark.parametrize(("photos", "lines"), [(4, 1), (5, 1), (6, 2), (9, 3)])
def test_photos_stay_within_the_width_of_the_drawings(photos: int, lines: int) -> None:
    rows = [PromptRow("a dog", [plain(RED)] * 4)]
    grid = captioned_grid(rows, references=[plain(GREEN)] * photos)
    assert box(grid, GREEN)[2] <= box(grid, RED)[2]
    assert round(box(grid, GREEN)[3] / 130) == lines


@pytest.mark.parametrize("width", range(40, 60, 3))
def test_photos_reduced_to_one_line_are_on_one_line(width: int) -> None:
    rows = [PromptRow("a dog", [plain(RED)] * 4)]
    photos = [plain(BLUE, 64, width), *[plain(GREEN)] * 4]
    grid = captioned_grid(rows, references=photos)
    assert box(grid, BLUE)[1] == box(grid, GREEN)[1]
    assert box(grid, GREEN)[3] == box(grid, BLUE)[3] < 128


def test_captions_and_photos_have_room_over_a_single_drawing() -> None:
    grid = captioned_grid([PromptRow("a dog", [plain(RED)])], references=[plain(GREEN)] * 2)
    assert box(grid, RED)[2:] == (128, 128)
    assert box(grid, GREEN)[2:] == (2 * 128 + 6, 128)


def test_a_long_prompt_is_wrapped_not_cut() -> None:
    prompt = "a [V] dog wearing a red hat " * 4 + "x" * 80
    row = PromptRow(prompt, [plain(RED)])
    grid = captioned_grid([row])
    assert grid.width == captioned_grid([PromptRow("a dog", [plain(RED)])]).width
    lines = pictures._wrapped(prompt, 128, 16)
    assert "".join(lines).replace(" ", "") == prompt.replace(" ", "")
    assert all(pictures._font(16).getlength(line) <= 128 for line in lines)


@pytest.mark.parametrize(("drawings", "columns"), [(1, 4), (2, 3), (4, 2), (8, 1)])
def test_prompts_stand_beside_each_other_as_far_as_they_fit(drawings: int, columns: int) -> None:
    rows = [PromptRow(f"prompt {i}", [plain(RED)] * drawings) for i in range(7)]
    grid = captioned_grid([*rows, PromptRow("the last", [plain(BLUE)] * drawings)])
    assert grid.width < 1200
    reds = (np.asarray(grid) == RED).all(axis=2).any(axis=1)
    lines = np.count_nonzero(np.diff(reds.astype(int)) == 1)
    # Alone on its line, the last prompt's drawings are blue.
    assert lines == math.ceil(8 / columns) - (columns == 1)
    if columns > 1:
        assert box(grid, BLUE)[0] > box(grid, RED)[0] + 128


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        captioned_grid([])
    with pytest.raises(ValueError, match="at least one"):
        captioned_grid([PromptRow("a dog", [plain(RED)]), PromptRow("a cat", [])])
    with pytest.raises(ValueError, match="uint8 3 H W"):
        captioned_grid([PromptRow("a dog", [plain(RED).float()])])


def test_png_comes_back_bit_for_bit(tmp_path: Path) -> None:
    image = torch.randint(256, (3, 40, 50), dtype=torch.uint8)
    path = tmp_path / "new" / "folder" / "drawing.png"
    save_png(plain(RED), path)
    save_png(image, path)
    with Image.open(path) as read:
        assert read.format == "PNG"
        np.testing.assert_array_equal(np.asarray(read), image.permute(1, 2, 0).numpy())
    assert os.listdir(path.parent) == ["drawing.png"]


def test_a_grid_is_saved_too(tmp_path: Path) -> None:
    grid = captioned_grid([PromptRow("a dog", [plain(RED)])])
    save_png(grid, tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as read:
        np.testing.assert_array_equal(np.asarray(read), np.asarray(grid))


def test_what_cannot_be_saved_is_one_line_and_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match="cannot be written"):
        save_png(plain(RED), tmp_path / "file" / "drawing.png")
    path = tmp_path / "drawing.png"
    save_png(plain(RED), path)
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(UserError, match="No space left"):
        save_png(plain(GREEN), path)
    assert path.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["drawing.png", "file"]
