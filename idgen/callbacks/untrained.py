"""What a model draws before its first step: drawn and scored once for all runs that begin alike."""

import hashlib
import importlib.metadata
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy

from idgen import __version__
from idgen.data.batch import DrawingBatch
from idgen.evaluation.drawing import Evaluation
from idgen.evaluation.fidelity import FidelityScores
from idgen.evaluation.kept import KeptEvaluations
from idgen.evaluation.suite import Suite
from idgen.fingerprint import fingerprint_fields, own_code
from idgen.integrity import weights_digest
from idgen.module import PersonalizationModule
from idgen.sampling import DrawingRequest, Drawings

# What of a module's config has no part in what it draws before it is trained.
_OF_TRAINING = ("terms", "optimizer", "scheduler", "text_lr", "background_noise")
_OURS = ("idgen.", "torch.")
_LIBRARIES = (
    *("torch", "torchvision", "torchmetrics", "diffusers", "transformers", "tokenizers", "peft"),
    *("open-clip-torch", "lightning", "numpy", "pillow", "safetensors"),
)


@dataclass(frozen=True)
class Beginning:
    """How a run begins, as far as its drawings go.

    Attributes:
        key: Hash of all that the drawings and their scores depend on.
        batches: What is drawn, batch by batch.
    """

    key: str
    batches: list[list[DrawingRequest]]

    @property
    def requests(self) -> list[DrawingRequest]:
        """All that is drawn."""
        return [request for batch in self.batches for request in batch]

    def drawings(self, evaluation: Evaluation) -> list[Drawings]:
        """An evaluation's drawings in these batches."""
        images = {drawing.request: drawing.image for drawing in evaluation.drawings}
        return [
            Drawings(torch.stack([images[request] for request in batch]), batch)
            for batch in self.batches
        ]


class UntrainedDrawings:
    """Finds what an earlier run drew before its first step, and keeps what this one draws then."""

    def __init__(self, kept: KeptEvaluations, model: Mapping[str, Any], scores: Any) -> None:
        """Takes the parts of a run's config, as plain values.

        Args:
            kept: Where evaluations are.
            model: The module's.
            scores: Of what scores drawings.
        """
        self._kept = kept
        drawing = {key: value for key, value in model.items() if key not in _OF_TRAINING}
        self._settings = json.dumps([drawing, scores], sort_keys=True, default=str)
        # What code of the user's own does may change from run to run, and nothing would tell.
        named = list(_class_paths([drawing, scores]))
        self._is_known = all(path.startswith(_OURS) for path in named)

    def beginning(
        self,
        trainer: L.Trainer,
        module: PersonalizationModule,
        suite: Suite,
        fidelity: FidelityScores,
    ) -> Beginning | None:
        """How a run begins; None once it is trained, and where its drawings are not to be kept.

        Of several processes one might find what the others draw.

        Args:
            trainer: The run's, in a validation.
            module: Loaded.
            suite: What is drawn.
            fidelity: What scores.

        Raises:
            UserError: If the photos cannot be used.
        """
        alone = trainer.world_size == 1 and isinstance(trainer.strategy, SingleDeviceStrategy)
        if not (trainer.sanity_checking and alone and self._is_known) or module.trained_steps:
            return None
        [count] = trainer.num_sanity_val_batches
        loader: Any = trainer.val_dataloaders
        batches: list[DrawingBatch] = list(islice(loader, int(count)))
        if not batches or not all(batch.requests for batch in batches):
            return None
        photos = {f"{number:06d}": photo for number, photo in enumerate(suite.pictures())}
        key = fingerprint_fields(
            settings=self._settings,
            code=own_code(),
            backbone=module.backbone.identity,
            weights=weights_digest(module.state_dict()),
            batches=_described(batches),
            photos=weights_digest(photos),
            clip=fidelity.clip.identity,
            dino=fidelity.dino.identity,
            surroundings=_surroundings(trainer, module.device),
        )
        return Beginning(key, [batch.requests for batch in batches])

    def find(self, beginning: Beginning) -> Evaluation | None:
        """What was drawn by a run that began so; None if there was none."""
        return self._kept.find(beginning.key, beginning.requests)

    def keep(self, beginning: Beginning, evaluation: Evaluation) -> None:
        """Keeps what was drawn for runs that begin so."""
        self._kept.keep(beginning.key, evaluation)


def _class_paths(part: Any) -> Iterator[str]:
    """The classes that a config of plain values names."""
    if isinstance(part, Mapping):
        if isinstance(part.get("class_path"), str):
            yield part["class_path"]
        part = list(part.values())
    for inside in part if isinstance(part, list) else ():
        yield from _class_paths(inside)


def _described(batches: list[DrawingBatch]) -> str:
    """Hash of what is drawn together, and of the photo whose scene is kept."""
    told = []
    for batch in batches:
        features = batch.reference
        reference = None if features is None else weights_digest(features._asdict())
        told.append([batch.requests, reference, batch.reference_weight])
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _surroundings(trainer: L.Trainer, device: torch.device) -> str:
    """What besides settings and weights decides a drawing to the last digit."""
    gpu = device.type == "cuda"
    cudnn = torch.backends.cudnn
    told = [
        __version__,
        {name: _version(name) for name in _LIBRARIES},
        torch.cuda.get_device_name(device) if gpu else device.type,
        torch.backends.cpu.get_cpu_capability(),
        torch.get_num_threads(),
        str(trainer.precision),
        torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
        [cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32],
    ]
    return json.dumps(told)


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None
