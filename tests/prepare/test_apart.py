"""What subjects of one run must not share: masks without a subject's name; and their locks."""

import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from idgen.commands.summary import peak_memory
from idgen.errors import UserError
from idgen.prepare import MaskFiles, Preparation
from idgen.prepare.apart import allow_locks
from tests.prepare.parts import (
    CPU,
    CountingInpainter,
    PoolingEncoder,
    TinyBackbone,
    contents,
    preparation,
    save_masks,
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
    subject = preparation().run(dog, tmp_path / "made", TinyBackbone(), CPU, False)
    return save_masks(subject, tmp_path / "masks")


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


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    """The process's limits of open files, as they are again afterwards."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def _limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_a_low_limit_is_raised(limits: tuple[int, int]) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, limits[1]))
    allow_locks(200)
    assert _limit() >= 200 + 256


def test_enough_stays_as_it_is(limits: tuple[int, int]) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (700, limits[1]))
    allow_locks(200)
    assert _limit() == 700


def test_a_limit_that_cannot_be_raised_is_named(
    limits: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (300, 400))
    with pytest.raises(
        UserError, match="200 subjects at once need 456 open files, and at most 400"
    ):
        allow_locks(200)


def test_a_system_without_such_limits_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    allow_locks(10**6)
    assert peak_memory() == "peak memory unknown"
