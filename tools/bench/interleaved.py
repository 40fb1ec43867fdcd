"""Times steps of `idgen fit` beside bare and naive ones, by turns, in one process."""

import json
import resource
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from idgen.data.batch import SubjectBatch
from idgen.data.datamodule import SubjectDataModule
from idgen.files import atomic_write
from idgen.module import PersonalizationModule
from tools.bench.bare import BareStep
from tools.bench.naive import NaiveStep


class Interleaved(Callback):
    """After each step of a fit, takes a bare and a naive one, and times all three.

    What else the machine does meets all alike. A step of idgen is all between two of its batches:
    the loader, Lightning, its callbacks. On a CPU processor time counts, on an accelerator the
    time until the device is through.
    """

    follows_loss = False

    def __init__(self, result: str, warm_up: int = 3, compiled: bool = False) -> None:
        """Names the file.

        Args:
            result: JSON with the seconds of each step, written at the end.
            warm_up: Steps of each kind that are not counted.
            compiled: Whether the denoiser is compiled; for all three, whose denoiser is the same.
        """
        self._result, self._warm_up, self._compiled = Path(result), warm_up, compiled
        self._times: dict[str, list[float]] = {"idgen": [], "bare": [], "naive": []}
        self._others: dict[str, Callable[[], None]] = {}
        self._began: float | None = None
        self._first: float | None = None
        self._kept = ExitStack()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: SubjectBatch,
        batch_idx: int,
    ) -> None:
        """Ends idgen's step, takes the others, begins idgen's next."""
        assert isinstance(pl_module, PersonalizationModule)
        now = _clock(pl_module.device)
        if self._first is None:
            self._first = time.process_time()
            self._others = other_steps(trainer, pl_module, batch, self._compiled, self._kept)
        elif self._began is not None:
            self._times["idgen"].append(now - self._began)
        names = list(self._others)
        # The first of a pair changes from step to step.
        for name in names if batch_idx % 2 else reversed(names):
            began = _clock(pl_module.device)
            self._others[name]()
            self._times[name].append(_clock(pl_module.device) - began)
        self._began = _clock(pl_module.device)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes what was measured."""
        self._kept.close()
        on_gpu = pl_module.device.type == "cuda"
        peak = torch.cuda.max_memory_allocated() if on_gpu else None
        found = {
            "seconds": {name: times[self._warm_up :] for name, times in self._times.items()},
            "first_step": self._first,
            "device": torch.cuda.get_device_name() if on_gpu else "cpu",
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "peak_bytes": peak,
            "resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
        atomic_write(self._result, json.dumps(found, indent=1).encode())


def other_steps(
    trainer: L.Trainer,
    module: PersonalizationModule,
    batch: SubjectBatch,
    compiled: bool,
    kept: ExitStack,
) -> dict[str, Callable[[], None]]:
    """Bare and naive steps of a fit, by name.

    Args:
        trainer: Of the fit.
        module: Of the fit, loaded.
        batch: One of the fit's.
        compiled: Whether the denoiser is compiled.
        kept: Keeps the networks that a naive step needs.
    """
    data = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(data, SubjectDataModule)
    autoencoder = kept.enter_context(module.backbone.autoencoder(module.device))
    encoder = kept.enter_context(data.preparation.image_encoder.loaded(module.device))
    photos = [photo.path for photo in data.photos]
    return {
        "bare": BareStep(module, batch, compiled),
        "naive": NaiveStep(module, batch, photos, autoencoder, encoder),
    }


def _clock(device: torch.device) -> float:
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()
