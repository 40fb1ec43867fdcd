"""Stands for `idgen fit` and `idgen test` in tests of the runner: seconds are milliseconds."""

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=Path, required=True, help="a line a call goes here")
    parser.add_argument("--result", type=Path, required=True)
    parser.add_argument("--say", default="")
    parser.add_argument("--content", default="{}")
    parser.add_argument("--exit", type=int, default=0)
    parser.add_argument("--stops", type=int, default=0, help="exits with 143 so many times")
    parser.add_argument("--checkpoint", type=Path, help="written before it waits")
    parser.add_argument("--wait", type=Path, help="goes on once this file is there")
    parser.add_argument("--ckpt_path", default="none")
    given = parser.parse_args()

    def terminated(number: int, frame: FrameType | None) -> None:
        _note(given.calls, "terminated")
        sys.exit(143)

    signal.signal(signal.SIGTERM, terminated)
    calls = _note(given.calls, f"from {given.ckpt_path}, threads {os.environ['OMP_NUM_THREADS']}")
    if given.checkpoint is not None:
        given.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        given.checkpoint.write_text("half")
    while given.wait is not None and not given.wait.exists():
        time.sleep(0.02)
    if given.say:
        print(given.say)
    if calls <= given.stops:
        return 143
    if given.exit == 0:
        given.result.parent.mkdir(parents=True, exist_ok=True)
        given.result.write_text(given.content)
    code: int = given.exit
    return code


def _note(path: Path, line: str) -> int:
    with path.open("a") as file:
        file.write(f"{line}\n")
    return len(path.read_text().splitlines())


if __name__ == "__main__":
    sys.exit(main())
