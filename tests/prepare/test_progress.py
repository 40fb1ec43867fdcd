"""What is said of a preparation where there is no terminal."""

import io
import time

import pytest
from rich.console import Console

from idgen.prepare.progress import PreparationProgress


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


def steps(shown: bool, clock: Clock, terminal: bool = False) -> str:
    """Runs a second a step: five masks, then twenty-five latents."""
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, soft_wrap=True)
    with PreparationProgress(30, shown, console) as shows:
        for number in range(30):
            shows.begin("masks" if number < 5 else "latents", "my\ndog")
            clock.now += 1
            shows.advance()
    return output.getvalue()


def test_a_line_a_stage_and_one_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = steps(shown=True, clock=Clock(monkeypatch)).splitlines()
    assert lines == [
        "preparing, step 1 of 30: masks of my\ufffddog",
        "preparing, step 6 of 30: latents of my\ufffddog",
        "preparing, step 16 of 30: latents of my\ufffddog",
        "preparing, step 26 of 30: latents of my\ufffddog",
    ]


def test_a_bar_on_a_terminal_and_nothing_where_nothing_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    assert "preparing, step" not in steps(shown=True, clock=clock, terminal=True)
    assert steps(shown=False, clock=clock) == ""
