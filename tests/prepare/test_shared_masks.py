"""Masks without a subject's name, in runs one after the other."""

from pathlib import Path

import pytest

from idgen.errors import UserError
from idgen.prepare import MaskFiles, Preparation
from tests.prepare.parts import (
    CPU,
    CountingInpainter,
    PoolingEncoder,
    TinyBackbone,
    contents,
    preparation,
    save_photos,
)
from tests.prepare.pictures import one_line


def by_hand(masks: Path) -> Preparation:
    return Preparation(MaskFiles(masks), CountingInpainter(), PoolingEncoder())


def run(parts: Preparation, photos: Path, output: Path) -> None:
    parts.run(photos, output, TinyBackbone(), CPU, False)


@pytest.fixture
def dog(tmp_path: Path) -> Path:
    return save_photos(tmp_path / "dog", (0, 1))


@pytest.fixture
def masks(tmp_path: Path, dog: Path) -> Path:
    """The dog's masks, in a folder without subjects."""
    run(preparation(), dog, tmp_path / "made")
    return (tmp_path / "made" / "masks").rename(tmp_path / "masks")


def test_another_subjects_run_does_not_take_them(tmp_path: Path, dog: Path, masks: Path) -> None:
    out = tmp_path / "out"
    cat = save_photos(tmp_path / "cat", (2, 3))
    (cat / "02.png").rename(cat / "00.png")
    (cat / "03.png").rename(cat / "01.png")
    run(by_hand(masks), dog, out / "dog")
    before = contents(out / "dog")
    with pytest.raises(UserError) as refused:
        run(by_hand(masks), cat, out / "cat")
    text = one_line(refused.value)
    assert f"the mask {masks / '00.png'} is that of '00.png' in {out / 'dog'} too" in text
    assert "'cat/00.png'" in text
    assert not (out / "cat").exists()
    # Their own are theirs, even where they are the same.
    (masks / "cat").mkdir()
    for name in ("00.png", "01.png"):
        (masks / "cat" / name).write_bytes((masks / name).read_bytes())
    run(by_hand(masks), cat, out / "cat")
    assert contents(out / "dog") == before
    with pytest.raises(UserError, match="name each mask after its subject"):
        run(by_hand(masks), dog, out / "dog")
    for name in ("00.png", "01.png"):
        (masks / "dog").mkdir(exist_ok=True)
        (masks / name).rename(masks / "dog" / name)
    run(by_hand(masks), dog, out / "dog")
    assert contents(out / "dog") == before


def test_the_same_photos_under_another_name_keep_them(
    tmp_path: Path, dog: Path, masks: Path
) -> None:
    run(by_hand(masks), dog, tmp_path / "out" / "dog")
    run(by_hand(masks), dog.rename(tmp_path / "rex"), tmp_path / "out" / "rex")
    assert by_hand(masks).is_fresh(tmp_path / "rex", tmp_path / "out" / "rex", TinyBackbone())
