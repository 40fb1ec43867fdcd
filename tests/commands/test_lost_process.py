"""Where another process of the same run is gone, this one ends with one line."""

import pytest

from idgen.module import PersonalizationModule
from tests.workspace import Workspace

CLOSED = "[gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:25296. This is ..."
RESET = "[gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:42185: Connection reset by peer."


@pytest.mark.parametrize("words", [CLOSED, RESET])
def test_the_line_points_to_the_process_that_ended(
    words: str,
    workspace: Workspace,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def waits(*args: object, **kwargs: object) -> None:
        raise RuntimeError(words)

    monkeypatch.setattr(PersonalizationModule, "on_before_backward", waits)
    assert workspace.fit("--trainer.limit_val_batches=0") == 1
    [line] = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert line == (
        "idgen fit: error: another process of this run has ended; what that one said is the reason"
    )
