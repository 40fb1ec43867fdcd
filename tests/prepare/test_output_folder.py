"""The prepared folder: what is refused, what is not lost, what is written at the same time."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from idgen.errors import UserError
from idgen.prepare.index import KINDS, PICTURES, Kind
from idgen.prepare.store import Store
from idgen.prepare.subject import PreparedSubject
from tests.prepare.parts import (
    CPU,
    TinyBackbone,
    contents,
    preparation,
    save_photo,
    save_photos,
)


@pytest.mark.parametrize("kind", PICTURES)
def test_work_by_hand_is_not_overwritten(kind: Kind, photos: Path, output: Path) -> None:
    subject = preparation().run(photos, output, TinyBackbone(), CPU, False)
    path = subject.path(subject.photos[1], kind)
    save_photo(path.parent, path.name, 5)
    edited = path.read_bytes()
    # Nor is it passed over where another segmenter's file would lie beside it.
    for parts in (preparation(), preparation(share=0.5)):
        with pytest.raises(UserError, match=rf"{kind}/{path.name}.*move it away"):
            parts.run(photos, output, TinyBackbone(), CPU, False)
    assert path.read_bytes() == edited


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


def test_a_file_that_another_run_removes_meanwhile_is_not_held(
    photos: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = preparation().run(photos, output, TinyBackbone(), CPU, False)
    files = Store.files

    def remove(store: Store, kind: Kind) -> dict[Path, str | None]:
        found = files(store, kind)
        if kind == "masks":
            subject.path(subject.photos[0], kind).unlink()
        return found

    monkeypatch.setattr(Store, "files", remove)
    assert preparation().plan(photos, output, TinyBackbone()) == ["mask of '00.png'"]


def test_names_as_long_as_names_may_be(tmp_path: Path, output: Path) -> None:
    photos = save_photos(tmp_path / "p", (0, 1))
    (photos / "00.png").rename(photos / ("x" * 255))
    subject = preparation().run(photos, output, TinyBackbone(), CPU, False)
    assert {photo.name for photo in subject.photos} == {"x" * 255, "01.png"}
    assert preparation().is_fresh(photos, output, TinyBackbone())


def test_a_renamed_photo_touches_no_file_of_its_own(photos: Path, output: Path) -> None:
    preparation().run(photos, output, TinyBackbone(), CPU, False)
    before = {path: path.stat().st_mtime_ns for kind in KINDS for path in (output / kind).iterdir()}
    (photos / "00.png").rename(photos / "z.png")
    parts = preparation()
    assert parts.plan(photos, output, TinyBackbone()) == ["index.json", "contact_sheet.html"]
    subject = parts.run(photos, output, TinyBackbone(), CPU, False)
    assert [photo.name for photo in subject.photos] == ["01.png", "02.png", "z.png"]
    after = {path: path.stat().st_mtime_ns for kind in KINDS for path in (output / kind).iterdir()}
    assert after == before


@pytest.mark.parametrize("damage", [b"{", b"[]", b'{"format": "idgen prepared subject 1"}', None])
def test_an_index_of_another_form_is_none(photos: Path, output: Path, damage: bytes | None) -> None:
    preparation().run(photos, output, TinyBackbone(), CPU, False)
    whole = contents(output)
    index = json.loads(whole["index.json"])
    index["photos"][0]["files"]["masks"]["key"] = 7
    (output / "index.json").write_bytes(damage or json.dumps(index).encode())
    with pytest.raises(UserError, match="holds no complete prepared subject"):
        PreparedSubject(output)
    parts, backbone = preparation(), TinyBackbone()
    assert parts.plan(photos, output, backbone) == ["index.json"]
    parts.run(photos, output, backbone, CPU, False)
    assert contents(output) == whole


def test_files_of_an_earlier_version_are_left_alone(photos: Path, output: Path) -> None:
    """One of them may be a mask that its user has mended."""
    subject = preparation().run(photos, output, TinyBackbone(), CPU, False)
    kept = subject.path(subject.photos[0], "masks").read_bytes()
    for path in output.rglob("[!.]*.*"):
        path.unlink()
    (output / "masks" / "photo.png").write_bytes(kept)
    (output / "index.json").write_text(json.dumps({"format": "idgen prepared subject 1"}))
    preparation(share=0.5).run(photos, output, TinyBackbone(), CPU, False)
    assert (output / "masks" / "photo.png").read_bytes() == kept
