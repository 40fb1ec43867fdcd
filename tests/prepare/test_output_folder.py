"""The prepared folder: what is refused, what is not lost, what is written at the same time."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from idgen.errors import UserError
from idgen.prepare.store import Kind, Store, StoredFile
from tests.prepare.parts import (
    CPU,
    TinyBackbone,
    contents,
    preparation,
    save_photo,
    save_photos,
)


@pytest.mark.parametrize("kind", ["masks", "backgrounds"])
def test_work_by_hand_is_not_overwritten(kind: str, photos: Path, output: Path) -> None:
    preparation().run(photos, output, TinyBackbone(), CPU, False)
    save_photo(output / kind, "01.png", 5)
    edited = (output / kind / "01.png").read_bytes()
    with pytest.raises(UserError, match=rf"{kind}/01\.png.*move it away"):
        preparation(share=0.5).run(photos, output, TinyBackbone(), CPU, False)
    assert (output / kind / "01.png").read_bytes() == edited


def test_refuses_a_folder_of_other_things(photos: Path, output: Path) -> None:
    output.mkdir()
    (output / "thesis.txt").write_text("work")
    with pytest.raises(UserError, match="holds other files"):
        preparation().run(photos, output, TinyBackbone(), CPU, False)
    assert [path.name for path in output.iterdir()] == ["thesis.txt"]


def test_refuses_an_output_that_is_a_file_or_links_elsewhere(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="is not a folder"):
        preparation().run(photos, tmp_path / "file", TinyBackbone(), CPU, False)
    output, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    preparation().run(photos, output, TinyBackbone(), CPU, False)
    (output / "masks").rename(elsewhere)
    (output / "masks").symlink_to(elsewhere)
    with pytest.raises(UserError, match="not a plain folder"):
        preparation().run(photos, output, TinyBackbone(), CPU, False)


def test_no_space_is_one_line(photos: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("idgen.prepare.store.atomic_write", full)
    with pytest.raises(UserError, match=r"no space left.*run it again"):
        preparation().run(photos, output, TinyBackbone(), CPU, False)


def test_no_right_to_write_is_one_line(photos: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write '/proc/idgen'"):
        preparation().run(photos, Path("/proc/idgen"), TinyBackbone(), CPU, False)


def test_runs_at_once_do_not_disturb_each_other(photos: Path, tmp_path: Path) -> None:
    backbone = TinyBackbone()

    def run(name: str) -> None:
        preparation().run(photos, tmp_path / name, backbone, CPU, False)

    with ThreadPoolExecutor(3) as threads:
        for done in [threads.submit(run, "both") for _ in range(3)]:
            done.result()
        threads.submit(run, "alone").result()
    assert contents(tmp_path / "both") == contents(tmp_path / "alone")


def test_a_file_that_another_run_moves_meanwhile_is_not_held(
    photos: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preparation().run(photos, output, TinyBackbone(), CPU, False)
    files = Store.files

    def move(store: Store, kind: Kind) -> list[StoredFile]:
        found = files(store, kind)
        if kind == "masks":
            (output / "masks" / "00.png").rename(output / "masks" / ".moving-0.png")
        return found

    monkeypatch.setattr(Store, "files", move)
    assert preparation().plan(photos, output, TinyBackbone()) == ["mask of '00.png'"]


def test_photos_alike_but_for_the_suffix_keep_it(tmp_path: Path, output: Path) -> None:
    save_photo(tmp_path / "p", "a.png", 0)
    save_photo(tmp_path / "p", "A.webp", 1)
    preparation().run(tmp_path / "p", output, TinyBackbone(), CPU, False)
    assert {path.name for path in (output / "masks").iterdir()} == {
        "a.png.png",
        "A.webp.png",
    }


def test_names_as_long_as_names_may_be(tmp_path: Path, output: Path) -> None:
    photos = save_photos(tmp_path / "p", (0, 1))
    (photos / "00.png").rename(photos / ("x" * 255))
    subject = preparation().run(photos, output, TinyBackbone(), CPU, False)
    assert {photo.name for photo in subject.photos} == {"x" * 255, "01.png"}
    assert preparation().is_fresh(photos, output, TinyBackbone())
