import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from idgen.errors import UserError
from tools import before_after

NAMES = ("000-a-sks-robot-in-the-snow-0.png", "001-a-sks-robot-0.png")


def drawings(folder: Path, names: tuple[str, ...]) -> Path:
    (folder / "images").mkdir(parents=True)
    for name in names:
        Image.new("RGB", (64, 64), "red").save(folder / "images" / name)
    return folder


def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    out = tmp_path / "grid.png"
    folders = [str(tmp_path / "before"), str(tmp_path / "after")]
    monkeypatch.setattr(sys, "argv", ["before_after", *folders, "--out", str(out)])
    before_after.main()
    return out


def test_the_grid_holds_both_folders_drawings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawings(tmp_path / "before", NAMES)
    drawings(tmp_path / "after", NAMES)
    grid = before_after.read(run(monkeypatch, tmp_path))
    red = torch.tensor([255, 0, 0], dtype=torch.uint8)[:, None, None]
    assert int((grid == red).all(dim=0).sum()) >= 4 * 64 * 64


def test_folders_that_do_not_match_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="before"):
        run(monkeypatch, tmp_path)
    drawings(tmp_path / "before", NAMES)
    drawings(tmp_path / "after", NAMES[:1])
    with pytest.raises(UserError, match=NAMES[1]):
        run(monkeypatch, tmp_path)
    assert not (tmp_path / "grid.png").exists()
