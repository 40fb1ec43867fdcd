"""Fixtures of the preparation's tests."""

from pathlib import Path

import pytest

from tests.prepare.parts import save_photos


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return save_photos(tmp_path / "photos")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out"
