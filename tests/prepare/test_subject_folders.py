"""One subject's photos, or a folder a subject."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from idgen.errors import UserError
from idgen.prepare import find_subjects
from tests.prepare.parts import CPU, TinyBackbone, preparation, save_photos
from tests.prepare.pictures import one_line


def test_photos_directly_inside_are_one_subject(tmp_path: Path) -> None:
    folder = save_photos(tmp_path / "dog")
    (folder / "notes.txt").write_text("a dog")
    (folder / "empty").mkdir()
    assert find_subjects(folder) == [folder]


def test_each_folder_is_a_subject(tmp_path: Path) -> None:
    for name in ("dog", "cat", "mit leer"):
        save_photos(tmp_path / name)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "README.md").write_text("photos")
    (tmp_path / "classes").write_text("no image: passed over")
    assert [path.name for path in find_subjects(tmp_path)] == ["cat", "dog", "mit leer"]


def test_a_folder_without_anything_is_left_to_the_search_for_photos(tmp_path: Path) -> None:
    assert find_subjects(tmp_path) == [tmp_path]


@pytest.mark.parametrize("stray", ["00.png", "damaged.jpg", "photo.HEIC"])
def test_a_mix_is_refused_and_both_sides_named(tmp_path: Path, stray: str) -> None:
    save_photos(tmp_path / "dog")
    (tmp_path / stray).write_bytes(b"damaged")
    with pytest.raises(UserError, match="beside folders of photos") as caught:
        find_subjects(tmp_path)
    text = one_line(caught.value)
    assert repr(stray) in text
    assert "'dog'" in text


def test_prepared_subjects_inside_are_none(tmp_path: Path) -> None:
    save_photos(tmp_path / "dog")
    output = tmp_path / "prepared" / "dog"
    preparation().run(tmp_path / "dog", output, TinyBackbone(), CPU, False)
    preparation().run(tmp_path / "dog", tmp_path / "beside", TinyBackbone(), CPU, False)
    assert [path.name for path in find_subjects(tmp_path)] == ["dog"]


def test_the_folder_of_masks_is_none(tmp_path: Path) -> None:
    save_photos(tmp_path / "dog")
    save_photos(tmp_path / "masks")
    (tmp_path / "link").symlink_to(tmp_path / "masks", target_is_directory=True)
    assert [path.name for path in find_subjects(tmp_path, tmp_path / "masks")] == ["dog"]
    assert [path.name for path in find_subjects(tmp_path)] == ["dog", "link", "masks"]


def test_a_link_that_leads_back_is_no_subject(tmp_path: Path) -> None:
    dog = save_photos(tmp_path / "all" / "dog")
    (dog / "itself").symlink_to(dog, target_is_directory=True)
    (dog / "above").symlink_to(tmp_path, target_is_directory=True)
    (dog.parent / "itself").symlink_to(dog.parent, target_is_directory=True)
    assert find_subjects(dog) == [dog]
    assert find_subjects(tmp_path / "all") == [tmp_path / "all" / "dog"]


def test_a_link_to_photos_elsewhere_is_a_subject(tmp_path: Path) -> None:
    save_photos(tmp_path / "elsewhere")
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "dog").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert find_subjects(tmp_path / "all") == [tmp_path / "all" / "dog"]


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder"):
        find_subjects(tmp_path / "absent")


@pytest.mark.parametrize("refused", [("stat", "lstat"), ("stat", "lstat", "listdir")])
def test_a_folder_without_permission_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: tuple[str, ...]
) -> None:
    """As the system refuses what lies inside a folder that may not be searched, or listed."""
    save_photos(tmp_path / "all" / "cat")
    secret = save_photos(tmp_path / "all" / "secret")

    def refusing(name: str) -> Callable[..., Any]:
        call = getattr(os, name)

        def checked(path: Any = ".", *rest: Any, **options: Any) -> Any:
            inside = secret in Path(path).parents if isinstance(path, str | Path) else False
            if inside or (name == "listdir" and Path(path) == secret):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return call(path, *rest, **options)

        return checked

    for name in refused:
        monkeypatch.setattr(os, name, refusing(name))
    folders = find_subjects(tmp_path / "all")
    assert [folder.name for folder in folders] == ["cat", "secret"]
    subjects = [(folder, tmp_path / "out" / folder.name) for folder in folders]
    cat, secrets = preparation().run_all(subjects, TinyBackbone(), CPU, False)
    assert cat.error is None
    assert secrets.error is not None
    assert "permissions" in one_line(secrets.error)
