from pathlib import Path

import pytest

from tests.prepare.stand_ins import Bench, save_photos


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three photos: 1.png, 2.png, 3.png."""
    return save_photos(tmp_path / "photos", 1, 2, 3)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "prepared"
