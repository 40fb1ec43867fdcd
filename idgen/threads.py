"""How many threads compute on the CPU, and how they wait for each other."""

import os
from collections.abc import MutableMapping
from pathlib import Path

_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
# GNU's OpenMP, which torch has on Linux, and LLVM's, which it has on macOS.
_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
_SPINNING = ("GOMP_SPINCOUNT",)
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def wait_without_spinning(environment: MutableMapping[str, str] = os.environ) -> None:
    """Makes threads sleep until the last of them is done, unless the environment says otherwise.

    OpenMP's own way is to spin. Where other processes want the cores too, the threads that spin
    keep the one that is waited for from its core, and a step takes many times as long. To have an
    effect it has to come before torch is imported.

    Args:
        environment: Where OpenMP reads its settings from.
    """
    if not any(name in environment for name in (*_WAITING, *_SPINNING)):
        environment.update(_WAITING)


def available_cores(cgroups: Path = _CGROUPS, own: Path = _OWN_CGROUP) -> int:
    """Cores that this process may use: those it is bound to, or its container's share of them.

    Args:
        cgroups: Where control groups are mounted.
        own: The file that names this process's control group.
    """
    known = hasattr(os, "sched_getaffinity")
    bound = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    quota = _quota(cgroups, own)
    return bound if quota is None else max(1, min(bound, int(quota)))


def _quota(cgroups: Path, own: Path) -> float | None:
    """The least number of cores that a control group, or one above it, is given."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:  # not on Linux
        return None
    named = next((line[3:] for line in lines if line.startswith("0::")), "/")
    group = cgroups / named.strip("/")
    files = [(folder / "cpu.max") for folder in (group, *group.parents)]
    shares = [_share(*_words(file)) for file in files if file.is_relative_to(cgroups)]
    old = cgroups / "cpu"  # of the first version of control groups
    shares.append(_share(*_words(old / "cpu.cfs_quota_us"), *_words(old / "cpu.cfs_period_us")))
    return min((share for share in shares if share is not None), default=None)


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").split()
    except OSError:
        return []


def _share(quota: str = "max", period: str = "0", *others: str) -> float | None:
    """Cores that a quota of microseconds a period is; None where there is no limit."""
    limited = quota.isdecimal() and period.isdecimal() and int(period) > 0
    return int(quota) / int(period) if limited else None


def share_cores(processes: int = 1) -> str:
    """Gives torch, in this process and in those it starts, its share of the cores.

    What the environment says of threads stays.

    Args:
        processes: How many processes compute on them.

    Returns:
        What was settled, in one line.
    """
    import torch

    cores = available_cores()
    said = next((name for name in _COUNTS if name in os.environ), None)
    if said is None:
        threads = max(1, cores // processes)
        torch.set_num_threads(threads)
        if processes > 1:
            os.environ[_COUNTS[0]] = str(threads)
    why = f"as {said} says" if said else f"set {_COUNTS[0]} for another number"
    each = f", in each of {processes} processes" if processes > 1 else ""
    return f"CPU threads: {torch.get_num_threads()} on cores: {cores}{each} ({why})"
