"""A run that dies at any write, and the next one, give what one undisturbed run gives."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from idgen import files
from idgen.errors import UserError
from idgen.files import TEMPORARY_PREFIX
from idgen.prepare.index import PICTURES, Kind
from idgen.prepare.store import png_bytes
from tests.prepare.parts import (
    CPU,
    TinyBackbone,
    contents,
    preparation,
    save_photo,
    save_photos,
)


class Killed(BaseException):
    """Stands for SIGKILL."""


def dying_write(after: int, before_rename: bool) -> Callable[[Path, bytes], None]:
    """A write that dies at the given call, with half a temporary file or with the whole one."""
    calls = 0

    def write(path: Path, content: bytes) -> None:
        nonlocal calls
        calls += 1
        if calls <= after:
            files.atomic_write(path, content)
            return
        if before_rename:
            (path.parent / f"{TEMPORARY_PREFIX}dead").write_bytes(content[: len(content) // 2])
        else:
            files.atomic_write(path, content)
        raise Killed

    return write


@pytest.mark.parametrize("before_rename", [True, False])
def test_killed_first_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before_rename: bool
) -> None:
    photos = save_photos(tmp_path / "photos", (0, 1))
    parts, backbone = preparation(), TinyBackbone()
    parts.run(photos, tmp_path / "whole", backbone, CPU, False)
    expected = contents(tmp_path / "whole")
    for number in range(0 if before_rename else 1, len(expected), 2):
        output = tmp_path / f"out{number}"
        with monkeypatch.context() as patch:
            dying = dying_write(number, before_rename)
            patch.setattr("idgen.prepare.store.atomic_write", dying)
            with pytest.raises(Killed):
                parts.run(photos, output, backbone, CPU, False)
        parts.run(photos, output, backbone, CPU, False)
        assert contents(output) == expected


def test_killed_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names exchanged, one photo gone, one new, another inpainter: killed at each write."""
    backbone = TinyBackbone()
    for number in (0, 1, 3, 5, 6, 7):
        photos, output = tmp_path / f"photos{number}", tmp_path / f"out{number}"
        save_photos(photos)
        preparation().run(photos, output, backbone, CPU, False)
        (photos / "00.png").rename(photos / "x.png")
        (photos / "01.png").rename(photos / "00.png")
        (photos / "x.png").rename(photos / "01.png")
        (photos / "02.png").unlink()
        save_photo(photos, "03.png", 3)
        changed = preparation(dilation=0.2)
        with monkeypatch.context() as patch:
            patch.setattr("idgen.prepare.store.atomic_write", dying_write(number, True))
            try:
                changed.run(photos, output, backbone, CPU, False)
            except Killed:
                assert not changed.is_fresh(photos, output, backbone)
        changed.run(photos, output, backbone, CPU, False)
        changed.run(photos, tmp_path / f"whole{number}", backbone, CPU, False)
        assert contents(output) == contents(tmp_path / f"whole{number}")


def test_a_swapped_file_is_noticed_and_mended(tmp_path: Path) -> None:
    photos, output = save_photos(tmp_path / "photos"), tmp_path / "out"
    subject = preparation().run(photos, output, TinyBackbone(), CPU, False)
    expected = contents(output)
    first, second = (subject.path(photo, "masks") for photo in subject.photos[:2])
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    with pytest.raises(UserError, match=rf"masks/{first.name}.*run idgen prepare again"):
        subject.mask(subject.photos[0])
    preparation().run(photos, output, TinyBackbone(), CPU, False)
    assert contents(output) == expected


@pytest.mark.parametrize("damage", ["cut", "gone", "swapped"])
@pytest.mark.parametrize("kind", ["latents", "embeddings"])
def test_damaged_features_are_noticed_and_made_anew(
    tmp_path: Path, damage: str, kind: Kind
) -> None:
    photos, output = save_photos(tmp_path / "photos"), tmp_path / "out"
    subject = preparation().run(photos, output, TinyBackbone(), CPU, False)
    expected = contents(output)
    path, other = (subject.path(photo, kind) for photo in subject.photos[:2])
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    elif damage == "gone":
        path.unlink()
    else:
        path.write_bytes(other.read_bytes())
    with pytest.raises(UserError, match="run idgen prepare again"):
        subject.load_views()
    assert not preparation().is_fresh(photos, output, TinyBackbone())
    preparation().run(photos, output, TinyBackbone(), CPU, False)
    assert contents(output) == expected


def test_a_truncated_mask_is_made_anew(tmp_path: Path) -> None:
    photos, output = save_photos(tmp_path / "photos"), tmp_path / "out"
    subject = preparation().run(photos, output, TinyBackbone(), CPU, False)
    expected = contents(output)
    for recorded in (True, False):
        mask = subject.path(subject.photos[0], "masks")
        mask.write_bytes(mask.read_bytes()[:-30])
        if not recorded:
            (output / "index.json").unlink()
        preparation().run(photos, output, TinyBackbone(), CPU, False)
        assert contents(output) == expected


def test_an_edited_mask_outlives_its_photo(tmp_path: Path) -> None:
    photos, output = save_photos(tmp_path / "photos"), tmp_path / "out"
    subject = preparation().run(photos, output, TinyBackbone(), CPU, False)
    mask, background = (subject.path(subject.photos[2], kind) for kind in PICTURES)
    save_photo(mask.parent, mask.name, 5)
    (photos / "02.png").unlink()
    edited = mask.read_bytes()
    preparation().run(photos, output, TinyBackbone(), CPU, False)
    assert mask.read_bytes() == edited
    assert not background.exists()


def test_an_edited_mask_of_a_renamed_photo_is_not_passed_over(tmp_path: Path) -> None:
    photos, output = save_photos(tmp_path / "photos"), tmp_path / "out"
    subject = preparation().run(photos, output, TinyBackbone(), CPU, False)
    photo = subject.photos[1]
    edited = np.full_like(subject.mask(photo), 255, dtype=np.uint8)
    subject.path(photo, "masks").write_bytes(png_bytes(edited, photo.files["masks"].key))
    (photos / "01.png").rename(photos / "new.png")
    with pytest.raises(UserError, match=rf"{subject.path(photo, 'masks').name}.*changed by hand"):
        preparation().run(photos, output, TinyBackbone(), CPU, False)
