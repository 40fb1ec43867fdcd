import sys

import pytest

from idgen.mini.subjects import sample_subject
from idgen.prepare import SamSegmenter
from tools import segmentation


def test_the_mini_sam_finds_held_out_subjects_by_itself() -> None:
    subjects = [sample_subject(number) for number in (900, 901)]
    found = [iou for subject in subjects for iou in segmentation.overlaps(SamSegmenter(), subject)]
    assert len(found) == 10
    assert sum(found) / len(found) >= 0.9


def test_the_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    name = "SAM, each photo by itself"
    monkeypatch.setattr(sys, "argv", ["segmentation", "--only", name, "--subjects", "1"])
    segmentation.main()
    printed = capsys.readouterr().out
    assert name in printed
    assert "0 of 5" in printed
