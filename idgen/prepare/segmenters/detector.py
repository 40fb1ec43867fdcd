"""A box around what a noun names, by a zero-shot object detector of transformers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import torch

from idgen.errors import UserError, first_line
from idgen.fingerprint import fingerprint_fields, fingerprint_path
from idgen.masks import Picture
from idgen.prepare.segmenters.prompts import Box
from idgen.sources import model_folder

Detect: TypeAlias = Callable[[Picture, str], Box | None]
"""A picture `H W 3` and a noun to (left, top, right, bottom) in its pixels, or None."""

_KEY = "BoxDetector.model"
_PATTERNS = ("*.json", "*.txt", "*.safetensors", "pytorch_model.bin")


class BoxDetector:
    """OWL-ViT, OWLv2, Grounding DINO or another detector that takes its classes as text."""

    def __init__(self, model: str, revision: str | None = None, threshold: float = 0.15) -> None:
        """Notes which model; the weights are loaded by `loaded`.

        Args:
            model: A folder that transformers saved, or a hub id such as
                `google/owlv2-base-patch16-ensemble`.
            revision: For a hub id: its commit, tag or branch.
            threshold: Boxes with a lower score count as none found; in [0, 1].

        Raises:
            UserError: If the threshold is out of its range.
        """
        if not 0 <= threshold <= 1:
            raise UserError(f"BoxDetector.threshold must be in [0, 1]; it is {threshold}")
        self.model = model
        self.revision = revision
        self.threshold = threshold

    @cached_property
    def folder(self) -> Path:
        """The detector's folder, fetched from the hub if need be; a UserError without one."""
        folder = model_folder(
            self.model, parameter=_KEY, revision=self.revision, patterns=_PATTERNS
        )
        if not (folder / "config.json").is_file():
            raise UserError(f"{_KEY}: {folder} is no detector's folder: config.json missing")
        return folder

    @cached_property
    def identity(self) -> str:
        """Hash of the weights and of the threshold."""
        weights = fingerprint_path(self.folder, _PATTERNS)
        return fingerprint_fields(detector=weights, threshold=float(self.threshold))

    @contextmanager
    def loaded(self, device: torch.device) -> Iterator[Detect]:
        """Loads the detector, and frees it when the context ends.

        Args:
            device: Where it runs.
        """
        network, processor = self._load()
        network.eval().requires_grad_(False).to(device)

        @torch.inference_mode()
        def detect(picture: Picture, noun: str) -> Box | None:
            # Grounding DINO was trained on lower case; the others do not mind.
            inputs = processor(images=picture, text=[[f"a {noun.lower()}"]], return_tensors="pt")
            outputs = network(**inputs.to(device))  # noqa: F821 (deleted on exit only)
            (found,) = processor.post_process_grounded_object_detection(
                outputs, threshold=self.threshold, target_sizes=[picture.shape[:2]]
            )
            if not len(found["scores"]):
                return None
            box = found["boxes"][int(found["scores"].argmax())].cpu().double()
            height, width = picture.shape[:2]
            left, right = (float(x) for x in box[0::2].clamp(0, width))
            top, bottom = (float(y) for y in box[1::2].clamp(0, height))
            return (left, top, right, bottom) if left < right and top < bottom else None

        try:
            yield detect
        finally:
            del network  # also from `detect`, which the caller may still hold

    def _load(self) -> tuple[Any, Any]:
        from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

        folder = self.folder
        try:
            network, report = AutoModelForZeroShotObjectDetection.from_pretrained(
                folder, output_loading_info=True, local_files_only=True
            )
            processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # transformers passes on the bare errors of several libraries
            raise UserError(
                f"{_KEY}: {folder} is no zero-shot object detector ({first_line(error)}); give one "
                "such as 'google/owlv2-base-patch16-ensemble'"
            ) from error
        if missing := sorted(report["missing_keys"]):
            # transformers would draw what is missing at random and only log a warning.
            raise UserError(f"{_KEY}: {folder} holds no whole detector: it lacks {missing[0]}")
        return network, processor
