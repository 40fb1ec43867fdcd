"""What a tool does with an error that its user can mend."""

import pytest

from idgen.errors import UserError
from tools.command import run


def fail() -> None:
    raise UserError("photos/a.png is no picture")


def test_an_error_that_can_be_mended_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("IDGEN_DEBUG", raising=False)
    with pytest.raises(SystemExit) as stopped:
        run(fail)
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "error: photos/a.png is no picture\n"


def test_debugging_shows_where_it_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDGEN_DEBUG", "1")
    with pytest.raises(UserError):
        run(fail)
