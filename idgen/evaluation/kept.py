"""Scored drawings of a model that nothing has trained yet, kept for runs that begin alike."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from idgen.errors import UserError
from idgen.evaluation.drawing import Evaluation, ScoredDrawing, in_suites_order
from idgen.files import atomic_write
from idgen.integrity import weights_digest
from idgen.prepare.store import features_bytes, read_features
from idgen.sampling import DrawingRequest

_SUFFIX = ".safetensors"
_IMAGES, _SCORES, _DIGEST = "images", "scores", "digest"
_MOST_BYTES = 256 << 20


class KeptEvaluations:
    """A folder of evaluations, each named by the hash of all that it was made from.

    To lose it, or a file of it, costs time alone. Those that were used last stay.
    """

    def __init__(self, folder: Path, most_bytes: int = _MOST_BYTES) -> None:
        """Looks at nothing yet.

        Args:
            folder: Existing or not.
            most_bytes: What all files together may take.
        """
        self.folder = folder
        self.most_bytes = most_bytes

    def find(self, key: str, requests: Sequence[DrawingRequest]) -> Evaluation | None:
        """What was kept under a key; None if there is nothing, or nothing whole.

        Args:
            key: The hash.
            requests: What was drawn, in any order.
        """
        path = self._path(key)
        try:
            found = read_features(path, key)
            if bytes(found.pop(_DIGEST).tolist()) != _digest(found):
                return None
            told = json.loads(bytes(found[_SCORES].tolist()))
            every = zip(in_suites_order(requests), found[_IMAGES], told["each"], strict=True)
            drawings = [ScoredDrawing(*one) for one in every]
        except (UserError, ValueError, KeyError):
            return None
        with contextlib.suppress(OSError):
            path.touch()
        return Evaluation(drawings, told["means"])

    def keep(self, key: str, evaluation: Evaluation) -> None:
        """Keeps an evaluation of validation, where the folder can be written."""
        each = [drawing.scores for drawing in evaluation.drawings]
        told = {"means": evaluation.scores, "each": each}
        tensors = {
            _IMAGES: torch.stack([drawing.image for drawing in evaluation.drawings]),
            _SCORES: _as_tensor(json.dumps(told).encode()),
        }
        content = features_bytes(tensors | {_DIGEST: _as_tensor(_digest(tensors))}, key)
        if len(content) > self.most_bytes // 4:
            return
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            atomic_write(self._path(key), content)
            self._forget_the_oldest()

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{_SUFFIX}"

    def _forget_the_oldest(self) -> None:
        stats = [(path, path.stat()) for path in self.folder.glob(f"*{_SUFFIX}")]
        taken = 0
        for path, stat in sorted(stats, key=lambda one: one[1].st_mtime_ns, reverse=True):
            taken += stat.st_size
            if taken > self.most_bytes:
                path.unlink(missing_ok=True)


def _digest(tensors: Mapping[str, Tensor]) -> bytes:
    return bytes.fromhex(weights_digest(tensors))


def _as_tensor(content: bytes) -> Tensor:
    return torch.tensor(list(content), dtype=torch.uint8)
