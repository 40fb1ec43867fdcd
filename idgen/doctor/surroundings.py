"""Versions, devices and memory of this machine."""

import os
import platform
from importlib import metadata
from pathlib import Path

import torch
from packaging.requirements import Requirement

from idgen import __version__
from idgen.doctor.finding import Findings, State

_SHOWN = ("torch", "lightning", "diffusers", "transformers", "peft", "open-clip-torch")
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_CGROUP_USED = Path("/sys/fs/cgroup/memory.current")


def look_at_versions(findings: Findings) -> None:
    """Adds the versions, and those that are older than idgen takes."""
    shown = [f"{name} {metadata.version(name)}" for name in _SHOWN if _is_there(name)]
    python = platform.python_version()
    findings.add("versions", f"idgen {__version__}, Python {python}, {', '.join(shown)}")
    try:
        required = metadata.requires("idgen") or []
    except metadata.PackageNotFoundError:
        findings.add("packages", "idgen runs from a folder and is not installed", State.note)
        return
    for line in required:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        if (problem := unmet(requirement)) is not None:
            findings.add("packages", problem, State.fails)


def unmet(requirement: Requirement) -> str | None:
    """What is wrong with a required package; None where nothing is."""
    mend = f"pip install '{requirement}'"
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is not installed: {mend}"
    if requirement.specifier.contains(version, prereleases=True):
        return None
    return f"{requirement.name} {version} is there, idgen takes {requirement.specifier}: {mend}"


def _is_there(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def look_at_devices(findings: Findings) -> None:
    """Adds what there is to calculate on."""
    threads = f"{torch.get_num_threads()} of {os.cpu_count()} threads"
    memory = memory_there(torch.device("cpu"))
    free = "memory unknown" if memory is None else f"{in_words(memory)} of memory free"
    findings.add("CPU", f"{platform.machine()}, {threads}, {free}")
    for index in range(torch.cuda.device_count()):
        device = torch.device("cuda", index)
        there, total = torch.cuda.mem_get_info(device)
        name = torch.cuda.get_device_name(device)
        findings.add("GPU", f"{index}: {name}, {in_words(there)} of {in_words(total)} free")
    if not torch.cuda.is_available():
        built = torch.version.cuda
        says = "none that torch can use" + (f", which is built for CUDA {built}" if built else "")
        findings.add("GPU", f"{says}; training runs on the CPU", State.note)


def memory_there(device: torch.device) -> int | None:
    """Free bytes of a device's memory; None where the system does not say.

    A container's limit counts, where it has one.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = None
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
        limit = _CGROUP_LIMIT.read_text(encoding="ascii").strip()
        if limit != "max":
            left = int(limit) - int(_CGROUP_USED.read_text(encoding="ascii"))
            free = left if free is None else min(free, left)
    except (OSError, ValueError):
        pass
    return free


def in_words(number: float) -> str:
    """A number of bytes, such as `1.4 GiB`."""
    for unit in ("bytes", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"
