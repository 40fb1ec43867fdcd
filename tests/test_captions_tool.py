import sys

import pytest

from tools import captions


def test_what_it_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["captions", "--subjects", "2"])
    captions.main()
    first, *rows = capsys.readouterr().out.splitlines()
    assert first == "scenes of 10 photos at confidence 0.1: 10 right, 0 wrong, 0 none"
    lowest, _, highest = ([float(row.split()[at].strip(",")) for row in rows] for at in (7, 9, 11))
    assert lowest[0] > highest[2]
