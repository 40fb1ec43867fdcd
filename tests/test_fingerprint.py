"""Hashes of files, and the cache that remembers them while nothing changes."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from idgen import fingerprint
from idgen.fingerprint import file_digest, fingerprint_fields, fingerprint_path

SIZE = 1 << 20


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache that trusts files at once; where it is written."""
    monkeypatch.setenv(fingerprint.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(fingerprint, "_SETTLED", 0)
    return tmp_path / "cache" / "fingerprints.json"


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was read to hash it."""
    read: list[Any] = []

    def noting(real: Callable[[Any], str]) -> Callable[[Any], str]:
        def digest(files: Any) -> str:
            read.append(files)
            return real(files)

        return digest

    for name in ("_whole_digest", "_blocks_digest"):
        monkeypatch.setattr(fingerprint, name, noting(getattr(fingerprint, name)))
    return read


def make(path: Path, content: bytes = b"a") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content * SIZE)
    return path


def test_a_digest_is_that_of_all_bytes(tmp_path: Path, cache: Path) -> None:
    file = make(tmp_path / "weights")
    for _ in range(2):
        assert file_digest(file) == hashlib.sha256(file.read_bytes()).hexdigest()


def test_an_unchanged_file_is_hashed_once(tmp_path: Path, cache: Path, hashed: list[Any]) -> None:
    folder = make(tmp_path / "model" / "weights").parent
    first, whole = fingerprint_path(folder), file_digest(folder / "weights")
    assert len(hashed) == 2
    assert (fingerprint_path(folder), file_digest(folder / "weights")) == (first, whole)
    assert len(hashed) == 2
    assert len(json.loads(cache.read_text())) == 2


@pytest.mark.parametrize("how", ["written", "replaced", "added", "renamed"])
def test_a_changed_folder_is_hashed_anew(
    tmp_path: Path, cache: Path, hashed: list[Any], how: str
) -> None:
    file = make(tmp_path / "model" / "weights")
    before, times = fingerprint_path(file.parent), file.stat()
    if how == "written":
        make(file, b"b")
    elif how == "replaced":
        make(tmp_path / "other", b"b").replace(file)
    elif how == "added":
        make(file.with_name("more"))
    else:
        file.rename(file.with_name("renamed"))
    if file.exists():  # an old time of modification hides nothing
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert fingerprint_path(file.parent) != before


def test_patterns_are_told_apart(tmp_path: Path, cache: Path) -> None:
    folder = make(tmp_path / "model" / "a.bin").parent
    make(folder / "b.json", b"b")
    found = {fingerprint_path(folder, patterns) for patterns in (["*.bin"], ["*.json"], ["*"])}
    assert len(found) == 3
    make(folder / ".hidden", b"c")
    assert fingerprint_path(folder) in found


def test_a_hash_does_not_depend_on_the_place(tmp_path: Path, cache: Path) -> None:
    first, second = (make(tmp_path / name / "weights").parent for name in ("one", "two"))
    assert fingerprint_path(first) == fingerprint_path(second)


def test_a_file_that_was_written_just_now_is_not_trusted(
    tmp_path: Path, cache: Path, hashed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv(fingerprint.CACHE_VARIABLE, str(cache.parent))
    file_digest(make(tmp_path / "weights"))
    assert not cache.exists()


def test_small_files_are_not_worth_it(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "small").write_bytes(b"small")
    assert file_digest(tmp_path / "small") == hashlib.sha256(b"small").hexdigest()
    assert not cache.exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"key": 3}', "\x00"])
def test_a_damaged_cache_costs_time_only(
    tmp_path: Path, cache: Path, hashed: list[Any], content: str
) -> None:
    file = make(tmp_path / "weights")
    wanted = file_digest(file)
    key = next(iter(json.loads(cache.read_text())))
    for damaged in (content, json.dumps({key: "damaged"}), json.dumps({key: ["old", "wrong"]})):
        cache.write_text(damaged)
        assert file_digest(file) == wanted
    assert len(hashed) == 4
    assert file_digest(file) == wanted
    assert len(hashed) == 4


def test_a_cache_that_cannot_be_written_costs_time_only(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv(fingerprint.CACHE_VARIABLE, str(tmp_path / "file"))
    file = make(tmp_path / "weights")
    assert file_digest(file) == hashlib.sha256(file.read_bytes()).hexdigest()


def test_the_users_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (fingerprint.CACHE_VARIABLE, "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert fingerprint.cache_folder() == tmp_path / ".cache" / "idgen"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert fingerprint.cache_folder() == tmp_path / "xdg" / "idgen"
    monkeypatch.setenv(fingerprint.CACHE_VARIABLE, str(tmp_path / "own"))
    assert fingerprint.cache_folder() == tmp_path / "own"


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fingerprint_path(tmp_path / "nothing")
    with pytest.raises(OSError, match="nothing"):
        file_digest(tmp_path / "nothing")


def test_fields_are_hashed_by_name() -> None:
    assert fingerprint_fields(a=1, b=2) == fingerprint_fields(b=2, a=1)
    assert fingerprint_fields(a=1, b=2) != fingerprint_fields(a=2, b=1)
