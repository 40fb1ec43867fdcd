"""Traces one step of `idgen fit`, of bare passes and of a naive loop, by torch's profiler."""

import json
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch.profiler import ProfilerActivity, profile

from idgen.data.batch import SubjectBatch
from idgen.files import atomic_write
from idgen.module import PersonalizationModule
from tools.bench.interleaved import other_steps

_LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch")
_WAITS = "Synchronize"
_TO_DEVICE, _TO_HOST = "Memcpy HtoD", "Memcpy DtoH"
_READS = "aten::_local_scalar_dense"
_MOST = 12


class Traced(Callback):
    """After some steps of a fit, traces one of each kind."""

    follows_loss = False

    def __init__(self, result: str, warm_up: int = 3, compiled: bool = False) -> None:
        """Names the file.

        Args:
            result: JSON with what was counted; the traces lie beside it, for chrome://tracing.
            warm_up: Steps before.
            compiled: Whether the denoiser is compiled.
        """
        self._result, self._warm_up, self._compiled = Path(result), warm_up, compiled
        self._others: dict[str, Callable[[], None]] = {}
        self._kept = ExitStack()
        self._found: dict[str, Any] = {}
        self._running: profile | None = None
        self._steps = 0

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: SubjectBatch,
        batch_idx: int,
    ) -> None:
        """Traces the others after some steps, then all of idgen's until it ends its next step."""
        assert isinstance(pl_module, PersonalizationModule)
        if self._running is not None:
            self._end("idgen", self._running)
            self._running = None
        if not self._others:
            self._others = other_steps(trainer, pl_module, batch, self._compiled, self._kept)
        self._steps += 1  # of all epochs: one may be shorter than what is warmed up
        if self._steps <= self._warm_up:
            for step in self._others.values():
                step()
        elif not self._found:
            for name, step in self._others.items():
                self._trace(name, step)
            self._running = _profiler()
            self._running.start()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes what was counted."""
        self._kept.close()
        atomic_write(self._result, json.dumps(self._found, indent=1).encode())

    def _trace(self, name: str, step: Callable[[], None]) -> None:
        running = _profiler()
        running.start()
        step()
        self._end(name, running)

    def _end(self, name: str, running: profile) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        running.stop()
        written = self._result.with_name(f"{self._result.stem}-{name}.json")
        running.export_chrome_trace(str(written))
        self._found[name] = counted(running, written)


def _profiler() -> profile:
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    return profile(activities=activities)


def counted(trace: profile, written: Path) -> dict[str, Any]:
    """What a trace holds.

    Args:
        trace: It ran, and is over.
        written: What it exported for chrome://tracing, which says how many bytes were copied.

    Returns:
        operations: Calls of torch's that no other such call made.
        launches: Kernels and graphs that were launched on a CUDA device.
        waits: Times that the host waited for the device.
        reads: Numbers that were read from tensors, on a CPU too.
        bytes_to_device, bytes_to_host: That were copied between them.
        operators: The ones that took the most time themselves: name, calls, milliseconds on the
            CPU and on the device.
    """
    events = json.loads(written.read_text())["traceEvents"]
    names = Counter(str(event.get("name")) for event in events if event.get("ph") == "X")
    copied = {
        way: sum(
            event.get("args", {}).get("bytes", 0)
            for event in events
            if str(event.get("name")).startswith(way)
        )
        for way in (_TO_DEVICE, _TO_HOST)
    }
    calls: Any = trace.events()  # type: ignore[no-untyped-call]
    averages = sorted(
        trace.key_averages(),
        key=lambda one: -(one.self_device_time_total or one.self_cpu_time_total),
    )
    return {
        "operations": sum(1 for call in calls if _is_torchs(call) and not _within(call)),
        "launches": sum(n for name, n in names.items() if name.startswith(_LAUNCHES)),
        "waits": sum(n for name, n in names.items() if _WAITS in name),
        "reads": names[_READS],
        "bytes_to_device": copied[_TO_DEVICE],
        "bytes_to_host": copied[_TO_HOST],
        "operators": [
            (one.key, one.count, one.self_cpu_time_total / 1000, one.self_device_time_total / 1000)
            for one in averages[:_MOST]
        ],
    }


def _is_torchs(event: Any) -> bool:
    return str(event.name).startswith("aten::")


def _within(event: Any) -> bool:
    above = event.cpu_parent
    while above is not None:
        if _is_torchs(above):
            return True
        above = above.cpu_parent
    return False
