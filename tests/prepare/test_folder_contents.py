from pathlib import Path

import pytest
from PIL import Image

from idgen.errors import UserError
from idgen.prepare import find_photos, find_subjects
from idgen.prepare.folder_contents import passed_over, visible_entries
from tests.prepare.parts import TinyBackbone, preparation
from tests.prepare.pictures import picture, save_pictures

SILENT = [
    "notes.txt",
    "prompts.yaml",
    "README.md",
    "Thumbs.db",
    "desktop.ini",
    ".DS_Store",
    "._0.png",
]
SAID = {
    "IMG_1.MOV": ".mov",
    "IMG_1.AAE": ".aae",
    "0.caption": ".caption",
    "0.npz": ".npz",
    "meta.jsonl": ".jsonl",
    "0.xmp": ".xmp",
}  # fmt: skip


@pytest.fixture
def phone(tmp_path: Path) -> Path:
    """A folder as a phone and other trainers leave it."""
    folder = save_pictures(tmp_path / "dog", 0, 1)
    for name in (*SILENT, *SAID):
        (folder / name).write_bytes(b"no picture")
    small = Image.fromarray(picture(0)).resize((40, 40))
    small.save(folder / "0_thumb.png")
    for name in ("__MACOSX", "@eaDir"):
        save_pictures(folder / name, 5)
    return folder


def test_what_is_no_photo_is_passed_over_in_one_line(phone: Path) -> None:
    with pytest.warns(UserWarning, match="passed over") as said:
        photos = preparation().find(phone, TinyBackbone())
    assert [photo.name for photo in photos] == ["0.png", "1.png"]
    (line,) = [str(warning.message) for warning in said]
    assert all(f"1 {kind}" in line for kind in (*SAID.values(), "thumbnail"))
    assert ".txt" not in line


def test_nothing_is_said_of_notes_and_a_systems_own(phone: Path) -> None:
    for name in SAID:
        (phone / name).unlink()
    (phone / "0_thumb.png").unlink()
    assert passed_over(phone) == ""
    assert [path.name for path in visible_entries(phone)] == ["0.png", "1.png"]
    # Nor are a system's folders subjects.
    assert find_subjects(phone) == [phone]


def test_a_thumbnail_without_its_photo_is_a_photo(tmp_path: Path) -> None:
    folder = save_pictures(tmp_path / "cat", 3)
    (folder / "3.png").rename(folder / "nice_thumb.png")
    assert [photo.name for photo in find_photos(folder)] == ["nice_thumb.png"]


def test_other_files_are_still_refused(phone: Path) -> None:
    (phone / "letter.pdf").write_bytes(b"%PDF-1.4")
    with pytest.raises(UserError, match=r"'letter\.pdf' is no image"):
        find_photos(phone)


def test_a_folder_of_videos_alone_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.mov").write_bytes(b"x")
    with pytest.raises(UserError, match=r"no photo in .*, which holds 1 \.mov"):
        find_photos(tmp_path)
