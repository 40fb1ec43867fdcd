"""Kills a command at random moments, until it completes, and compares what it leaves.

    python -m tests.killing fit 20
    python -m tests.killing prepare 10
    python -m tests.killing benchmark 10

Each of the given number of trials begins from nothing, kills the command (`kill -9`, its children
too) at one to three random moments, repeats the same command until it completes, and compares every
file with those of a run that was left alone: weights and optimizer to the bit. Not a part of the
tests: a trial takes half a minute.
"""

import argparse
import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from tests.benchmark.settings import benchmark_settings, write_settings
from tests.workspace import TinyModels, Workspace, make_workspace

_LEFT_OUT = ("events.out.tfevents.*", "*.log", "*.html", ".lock", "lock", "fingerprints.json")
_MOST_KILLS = 3
_LONGEST = 600  # seconds


def command_for(name: str, workspace: Workspace) -> list[str]:
    """The command that is killed, for a workspace whose config it may change."""
    if name == "benchmark":
        settings = benchmark_settings(workspace)
        settings["methods"].pop("plain LoRA")
        return ["benchmark", f"--config={write_settings(workspace, settings)}"]
    settings = workspace.settings()
    settings["trainer"] |= {"max_steps": 6, "num_sanity_val_steps": -1}
    settings["data"] |= {"validation_prompts": settings["data"]["validation_prompts"][:1]}
    settings["data"] |= {"steps_per_epoch": 4}
    settings["trainer"] |= {"enable_progress_bar": False}
    workspace.write(settings)
    return [name, f"--config={workspace.config}"]


def clear(workspace: Workspace) -> None:
    """Takes away all that the command has made."""
    for name in ("run", "prepared", "benchmark"):
        shutil.rmtree(workspace.folder / name, ignore_errors=True)


def run(command: list[str], limit: float | None) -> tuple[int | None, float, str]:
    """Runs a command; after `limit` seconds it and its children are killed: the code is None."""
    begun = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "idgen", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    code: int | None = None
    end = begun + (_LONGEST if limit is None else limit)
    said = ""
    try:
        said, _ = process.communicate(timeout=end - time.monotonic())
        code = process.returncode
    except subprocess.TimeoutExpired:
        for pid in (process.pid, *descendants(process.pid)):
            # It may have ended by itself meanwhile.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        said, _ = process.communicate()
        if limit is None:
            raise RuntimeError(f"still running after {_LONGEST} s: {said[-2000:]}") from None
    return code, time.monotonic() - begun, said


def descendants(pid: int) -> set[int]:
    """The processes that a process has started, and theirs."""
    found: set[int] = set()
    for child in Path(f"/proc/{pid}/task").glob("*/children"):
        for inner in child.read_text().split():
            found |= {int(inner), *descendants(int(inner))}
    return found


def state(folder: Path) -> dict[str, str]:
    """A hash of each file that the command has made; of a checkpoint, of what is in it."""
    found = {}
    for name in ("run", "prepared", "benchmark"):
        for path in sorted((folder / name).rglob("*")):
            if path.is_file() and not any(path.match(pattern) for pattern in _LEFT_OUT):
                found[str(path.relative_to(folder))] = content(path)
    return found


def content(path: Path) -> str:
    if path.suffix == ".ckpt":
        digest = hashlib.sha256()
        feed(digest, torch.load(path, weights_only=True))
        return digest.hexdigest()
    return hashlib.sha256(path.read_bytes()).hexdigest()


def feed(digest: Any, value: Any) -> None:
    """Adds a checkpoint's value to a hash, all the way down."""
    if isinstance(value, torch.Tensor):
        digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            digest.update(f"{key}:".encode())
            feed(digest, value[key])
    elif isinstance(value, (list, tuple)):
        for entry in value:
            feed(digest, entry)
    else:
        digest.update(repr(value).encode())


def trial(
    command: list[str], workspace: Workspace, whole: dict[str, str], took: float, seed: int
) -> bool:
    """One run that is killed and repeated; says what came of it."""
    draw = random.Random(seed)
    clear(workspace)
    moments, killed = [], 0
    for _ in range(draw.randint(1, _MOST_KILLS)):
        # Most of the time goes into imports, in which there is nothing to lose.
        moments.append(took * draw.uniform(0.25, 1.0))
        code, _, said = run(command, moments[-1])
        if code is not None:
            break
        killed += 1
    if killed == len(moments):
        code, _, said = run(command, None)
    after = state(workspace.folder)
    differing = sorted(k for k in whole.keys() | after.keys() if whole.get(k) != after.get(k))
    # Killed after its end, a fit is refused as one that is finished.
    good = (code == 0 or (code == 2 and "is finished" in said)) and not differing
    at = ", ".join(f"{moment:.1f}" for moment in moments)
    print(
        f"trial {seed}: killed {killed} times (at {at} s), code {code}, {len(after)} files", end=" "
    )
    print(
        "equal" if good else f"DIFFERENT: {differing[:6]} {said[-600:] if code else ''}", flush=True
    )
    return good


def main() -> int:
    """Runs the trials, and returns 0 if all came to the same end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=("fit", "prepare", "benchmark"))
    parser.add_argument("trials", type=int)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["IDGEN_CACHE"] = f"{folder}/cache"
        workspace = make_workspace(Path(folder) / "w", TinyModels.save(Path(folder) / "models"))
        command = command_for(given.command, workspace)
        code, took, said = run(command, None)
        assert code == 0, said
        whole = state(workspace.folder)
        print(f"left alone: {took:.1f} s, {len(whole)} files", flush=True)
        seeds = range(given.seed, given.seed + given.trials)
        good = sum(trial(command, workspace, whole, took, seed) for seed in seeds)
    print(f"{good} of {given.trials} came to the same end")
    return 0 if good == given.trials else 1


if __name__ == "__main__":
    sys.exit(main())
