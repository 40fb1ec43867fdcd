import json
import shutil
from pathlib import Path

import pytest

from idgen.errors import UserError
from idgen.mini import assets
from idgen.mini.assets import CHECKSUMS, PARTS, mini_path
from tools.train_mini.checksums import write_checksums


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A weights folder with two small files in each part, in place of the shipped one."""
    for part in PARTS:
        (tmp_path / part / "inner").mkdir(parents=True)
        (tmp_path / part / "config.json").write_text(f'{{"part": "{part}"}}')
        (tmp_path / part / "inner" / "model.safetensors").write_bytes(part.encode() * 50)
    write_checksums(tmp_path)
    monkeypatch.setattr(assets, "WEIGHTS", tmp_path)
    return tmp_path


def message_of(part: str) -> str:
    with pytest.raises(UserError) as error:
        mini_path(part)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("part", PARTS)
def test_a_whole_part_is_found(weights: Path, part: str) -> None:
    assert mini_path(part) == weights / part


def test_checksums_cover_every_file_by_its_path(weights: Path) -> None:
    recorded = json.loads((weights / CHECKSUMS).read_text())
    assert set(recorded) == {
        f"{part}/{name}" for part in PARTS for name in ("config.json", "inner/model.safetensors")
    }
    assert not list(weights.glob(f".{CHECKSUMS}*"))


def test_an_unknown_part_is_named_with_those_that_exist(weights: Path) -> None:
    message = message_of("vae")
    assert "vae" in message
    assert all(part in message for part in PARTS)


def test_a_changed_byte_is_noticed(weights: Path) -> None:
    path = weights / "dino" / "inner" / "model.safetensors"
    path.write_bytes(b"D" + path.read_bytes()[1:])
    message = message_of("dino")
    assert str(path) in message
    assert "damaged" in message
    assert mini_path("sam") == weights / "sam"


def test_a_truncated_file_is_noticed(weights: Path) -> None:
    path = weights / "clip" / "config.json"
    path.write_bytes(path.read_bytes()[:-1])
    assert str(path) in message_of("clip")


def test_a_missing_file_is_named(weights: Path) -> None:
    (weights / "sam" / "config.json").unlink()
    assert str(weights / "sam" / "config.json") in message_of("sam")


def test_a_missing_folder_is_named(weights: Path) -> None:
    shutil.rmtree(weights / "encoder")
    (weights / "sam" / "config.json").unlink()
    message = message_of("encoder")
    assert str(weights / "encoder") in message
    assert "there are: pipeline, flow, clip, dino, empty_scenes; reinstall" in message


def test_a_file_that_cannot_be_read_is_named(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(assets, "file_digest", fail)
    assert str(weights / "dino" / "config.json") in message_of("dino")


def test_a_part_without_checksums_is_missing(weights: Path) -> None:
    shutil.rmtree(weights / "pipeline")
    write_checksums(weights)
    message = message_of("pipeline")
    assert "pipeline" in message
    assert "encoder, clip, dino, sam" in message


@pytest.mark.parametrize("content", [None, "{", "[1, 2]"])
def test_unreadable_checksums_are_named(weights: Path, content: str | None) -> None:
    path = weights / CHECKSUMS
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    assert str(path) in message_of("dino")


def test_files_are_read_once_a_process(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mini_path("dino") == weights / "dino"
    read: list[Path] = []
    monkeypatch.setattr(assets, "file_digest", read.append)
    assert mini_path("dino") == weights / "dino"
    assert read == []
