"""The mini segment-anything folder, damaged in the ways a user's could be."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from idgen.errors import UserError
from idgen.mini.assets import mini_path
from idgen.mini.sam import CONFIG, WEIGHTS, load_mini_sam


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(mini_path("sam"), tmp_path / "sam"))


def message_of(folder: Path) -> str:
    with pytest.raises(UserError) as error:
        load_mini_sam(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("share", [0, 4, 0.5, 0.999])
def test_truncated_weights_are_named(folder: Path, share: float) -> None:
    weights = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(weights[: int(share if share >= 1 else share * len(weights))])
    assert str(folder) in message_of(folder)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert name in message_of(folder)


def test_a_setting_that_is_missing_is_named(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_text())
    del config["patch_size"]
    (folder / CONFIG).write_text(json.dumps(config))
    message = message_of(folder)
    assert "patch_size" in message
    assert CONFIG in message


@pytest.mark.parametrize(("key", "value"), [("width", 96), ("depth", "four"), ("heads", None)])
def test_settings_that_do_not_fit_are_refused(folder: Path, key: str, value: Any) -> None:
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | {key: value}))
    assert str(folder) in message_of(folder)
