"""Runs a cell's commands as processes, from where an earlier attempt left off."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TypeAlias

from idgen.benchmark.cell import DONE, FAILED, RECORD, Cell, Outcome, Step, read_json, write_json
from idgen.benchmark.forked import ForkedCommand, can_fork
from idgen.errors import UserError
from idgen.files import atomic_write
from idgen.locks import BusyError, locked

Command: TypeAlias = "subprocess.Popen[bytes] | ForkedCommand"

_STOPPED = 128 + signal.SIGTERM
_ATTEMPTS = 3
_GRACE = 120.0  # seconds to save in, once told to stop
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_LONGEST_REASON = 300


class Processes:
    """The commands under way, so that all of them can be stopped."""

    def __init__(self) -> None:
        self._running: set[Command] = set()
        self._lock = threading.Lock()
        self.stopping = threading.Event()

    def stop(self) -> None:
        """Tells every command to save and stop, and keeps others from starting."""
        self.stopping.set()
        with self._lock:
            for process in self._running:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGTERM)
        threading.Thread(target=self._kill_late, daemon=True).start()

    def _kill_late(self) -> None:
        end = time.monotonic() + _GRACE
        while self._running and time.monotonic() < end:
            time.sleep(0.5)
        with self._lock:
            for process in self._running:
                with contextlib.suppress(ProcessLookupError):
                    _kill(process)

    def run(self, command: tuple[str, ...], log: Path, kept: IO[bytes], **more: str) -> int | None:
        """Runs a command to its end.

        Args:
            command: Program and arguments.
            log: Where its output goes.
            kept: An open file that the command holds as long as it lives.
            **more: Environment variables, over this process's.

        Returns:
            Its exit code, None if it was not started since all are to stop.
        """
        with log.open("wb") as output:
            with self._lock:
                if self.stopping.is_set():
                    return None
                process = _start(command, output, kept, {**os.environ, **more})
                self._running.add(process)
            try:
                return process.wait()
            finally:
                with self._lock:
                    self._running.discard(process)


def _start(
    command: tuple[str, ...], output: IO[bytes], kept: IO[bytes], environment: dict[str, str]
) -> Command:
    if can_fork(command):
        return ForkedCommand(command, output, kept, environment)
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment,
        pass_fds=(kept.fileno(),),
        # Ctrl-C is for this process alone, which tells the commands.
        start_new_session=True,
    )


def _kill(process: Command) -> None:
    """Ends a command's whole session where there are any: several GPUs are several processes."""
    if isinstance(process, subprocess.Popen) and sys.platform == "win32":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)


def run_cell(cell: Cell, processes: Processes, environment: Mapping[str, str]) -> Outcome:
    """Runs what is left of a cell; a finished one is not run again.

    A step that was interrupted goes on from its checkpoint, or starts anew where there is none. A
    cell that failed before starts anew. Exit code 143 (told to stop) is tried again, three
    times in all.

    Args:
        cell: The cell.
        processes: Where its commands are noted.
        environment: Variables for them.

    Returns:
        What became of it.
    """
    try:
        cell.folder.mkdir(parents=True, exist_ok=True)
        # A command that outlived its benchmark holds the lock too, and is waited for.
        with locked(cell.folder / "lock", stop=processes.stopping) as lock:
            if cell.is_done():
                return Outcome(cell)
            _begin(cell)
            for step in cell.steps:
                outcome = _run_step(cell, step, processes, lock, environment)
                if outcome is not None:
                    return outcome
            write_json(cell.folder / DONE, {"key": cell.key, "name": cell.name})
            return Outcome(cell)
    except BusyError:
        return _stopped(cell)
    except (UserError, OSError) as error:
        return _failed(cell, f"{error}", 1)
    except Exception as error:  # one cell's trouble, whatever it is, is not that of the others
        return _failed(cell, f"{type(error).__name__}: {error}", 1)


def _begin(cell: Cell) -> None:
    """Empties the folder of what belongs to another record or to a failed attempt."""
    # The record as it was stored: JSON has no tuples.
    other = read_json(cell.folder / RECORD) not in (None, cell.record)
    if other or (cell.folder / FAILED).exists() or (cell.folder / DONE).exists():
        for path in cell.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "lock":
                path.unlink()
    for path, text in cell.files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, text.encode())
    write_json(cell.folder / RECORD, cell.record)


def _run_step(
    cell: Cell, step: Step, processes: Processes, lock: IO[bytes], environment: Mapping[str, str]
) -> Outcome | None:
    """Runs a step that is not done yet; returns an outcome if the cell ends with it."""
    marker, log = cell.folder / f"{step.name}.done", cell.folder / f"{step.name}.log"
    if marker.exists() and step.result.exists():
        return None
    code: int | None = _STOPPED
    for _ in range(_ATTEMPTS):
        code = processes.run(_command(step), log, lock, **environment)
        if code is None or processes.stopping.is_set():
            return _stopped(cell)
        if code != _STOPPED:
            break
    if code:
        return _failed(cell, f"{step.name}: {_reason(log, code)}", code)
    if not step.result.exists():
        return _failed(cell, f"{step.name}: left no {step.result.name}; see {log}", 1)
    if step.verify is not None:
        try:
            step.verify(step.result)
        except UserError as error:
            return _failed(cell, f"{step.name}: {error}", 1)
    atomic_write(marker, b"")
    return None


def _command(step: Step) -> tuple[str, ...]:
    if step.checkpoint is not None and step.checkpoint.exists():
        return (*step.command, f"--ckpt_path={step.checkpoint}")
    if step.output is not None and step.output.exists():
        shutil.rmtree(step.output)
    return step.command


def _stopped(cell: Cell) -> Outcome:
    return Outcome(cell, "stopped", _STOPPED, stopped=True)


def _failed(cell: Cell, reason: str, code: int) -> Outcome:
    reason = " ".join(reason.split())[:_LONGEST_REASON]
    with contextlib.suppress(OSError):
        write_json(cell.folder / FAILED, {"key": cell.key, "reason": reason, "exit_code": code})
    return Outcome(cell, reason, code)


def _reason(log: Path, code: int) -> str:
    """The last line that a command said, or which signal ended it."""
    text = _CONTROL.sub("", log.read_text(encoding="utf-8", errors="replace"))
    lines = [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]
    said = lines[-1] if lines else "it said nothing"
    if code == _STOPPED:
        return f"told to stop {_ATTEMPTS} times (exit code {code}); run the benchmark again"
    if code < 0:
        return f"ended by {signal.Signals(-code).name} (out of memory?); last line: {said}"
    return said
