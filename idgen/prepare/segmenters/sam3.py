"""Masks by SAM 3 (Meta, 2025), which finds what a noun names, through transformers."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from idgen.errors import UserError, first_line
from idgen.fingerprint import fingerprint_fields, fingerprint_path
from idgen.masks import Mask, Picture, tidy
from idgen.placeholders import check_words
from idgen.prepare.photos import Photo
from idgen.prepare.segmenters.class_noun import ClassNouns
from idgen.prepare.segmenters.finding import Find, Finding
from idgen.prepare.segmenters.prompts import (
    PromptedSegmenter,
    Prompts,
    placed_prompts,
    prompted_key,
    prompts_of,
)
from idgen.prepare.segmenters.segmenter import Segment
from idgen.sources import model_folder
from idgen.texts import read_text

_VERSION = 1
_KEY = "Sam3Segmenter.model"
_PATTERNS = ("*.json", "*.txt", "*.safetensors")
_RIVAL = 0.7
"""A second thing of that noun that is so sure, beside the best, makes the photo doubtful."""


class Sam3Segmenter(PromptedSegmenter):
    """The noun's surest instance in each photo, as SAM 3 sees it.

    Points and boxes in `prompts.yaml` choose among the instances: the one is taken that holds most
    of the points, none of the background's, and fills the box best. The hub gives the weights to
    users who have asked for access.
    """

    def __init__(
        self,
        model: str = "facebook/sam3",
        revision: str | None = None,
        class_noun: str | None = None,
        class_nouns: Path | None = None,
        threshold: float = 0.3,
    ) -> None:
        """Notes the model; the weights are loaded by `loaded`.

        Args:
            model: A folder that transformers saved, or a hub id.
            revision: For a hub id: its commit, tag or branch.
            class_noun: What the subject is, such as `dog`; of all subjects that `class_nouns` does
                not list and whose photos have no `class_noun.txt` beside them.
            class_nouns: A file of lines `subject,noun`.
            threshold: Instances with a lower score count as not found; in [0, 1].

        Raises:
            UserError: If the noun is none, or the threshold is out of its range.
        """
        if class_noun is not None:
            check_words(class_noun, "Sam3Segmenter.class_noun")
        if not 0 <= threshold <= 1:
            raise UserError(f"Sam3Segmenter.threshold must be in [0, 1]; it is {threshold}")
        self.model, self.revision, self.threshold = model, revision, threshold
        self.nouns = ClassNouns(class_noun, class_nouns)

    @cached_property
    def folder(self) -> Path:
        """The model's folder, fetched from the hub if need be; a UserError without one."""
        folder = model_folder(
            self.model, parameter=_KEY, revision=self.revision, patterns=_PATTERNS
        )
        config = folder / "config.json"
        if not config.is_file():
            raise UserError(f"{_KEY}: {folder} is no SAM 3's folder: config.json missing")
        try:
            kind = str(json.loads(read_text(config)).get("model_type"))
        except (ValueError, AttributeError) as error:
            raise UserError(f"{_KEY}: {config} is damaged ({error}); fetch it again") from error
        if not kind.startswith("sam3"):
            raise UserError(
                f"{_KEY}: {folder} holds a model of the type {kind!r}, no SAM 3; give one such as "
                "'facebook/sam3'"
            )
        return folder

    @cached_property
    def identity(self) -> str:
        """Hash of the weights and of the threshold."""
        weights = fingerprint_path(self.folder, _PATTERNS)
        threshold = float(self.threshold)
        return fingerprint_fields(
            segmenter="sam3", version=_VERSION, weights=weights, threshold=threshold
        )

    def key(self, photo: Photo) -> str:
        """The identity, with the photo's class noun, and with the user's prompts for it."""
        of_prompts = prompted_key(self.identity, photo)
        return fingerprint_fields(segmenter=of_prompts, class_noun=self.nouns.of(photo))

    def check(self, photos: Sequence[Photo]) -> None:
        """Checks the user's prompts, and that each photo has a class noun."""
        super().check(photos)
        for photo in photos:
            self.nouns.of(photo)

    @contextmanager
    def loaded(self, device: torch.device, photos: Sequence[Photo]) -> Iterator[Segment]:
        """Loads the model, and frees it when the context ends."""
        with self.finding(device, photos) as find:
            yield lambda photo: find(photo).mask

    @contextmanager
    def finding(self, device: torch.device, photos: Sequence[Photo]) -> Iterator[Find]:
        """The same, with a doubt where nothing, or a second thing, of that noun is seen."""
        network, processor = self._load()
        network.eval().requires_grad_(False).to(device)

        def find(photo: Photo) -> Finding:
            known = any(photo.digest == other.digest for other in photos)
            # A drawing lies elsewhere; it shows what the photos show.
            noun = self.nouns.of(photo if known or not photos else photos[0])
            prompts = placed_prompts(photo) if prompts_of(photo) is not None else None
            picture = photo.pixels()
            found = self._instances(network, processor, picture, noun)  # noqa: F821
            return _chosen(*found, noun, prompts)

        try:
            yield find
        finally:
            del network  # also from `find`, which the caller may still hold

    @torch.inference_mode()
    def _instances(
        self, network: Any, processor: Any, picture: Picture, noun: str
    ) -> tuple[Tensor, Tensor]:
        """Masks `K H W` of what a noun names in a picture, and their scores `K` in [0, 1]."""
        inputs = processor(images=picture, text=noun, return_tensors="pt")
        outputs = network(**inputs.to(network.device))
        (found,) = processor.post_process_instance_segmentation(
            outputs, threshold=self.threshold, target_sizes=[picture.shape[:2]]
        )
        return found["masks"].bool().cpu(), found["scores"].float().cpu()

    def _load(self) -> tuple[Any, Any]:
        try:
            from transformers import Sam3Model, Sam3Processor
        except ImportError as error:
            raise UserError(
                f"{_KEY}: this version of transformers has no SAM 3; pip install -U transformers, "
                "or take Sam2Segmenter"
            ) from error
        try:
            network, report = Sam3Model.from_pretrained(
                self.folder, output_loading_info=True, local_files_only=True, use_safetensors=True
            )
            processor = Sam3Processor.from_pretrained(self.folder, local_files_only=True)
        except Exception as error:  # transformers passes on the bare errors of several libraries
            raise UserError(
                f"{_KEY}: {self.folder} is no SAM 3 ({first_line(error, 120)}); give one such as "
                "'facebook/sam3'"
            ) from error
        if missing := sorted(report["missing_keys"]):
            # transformers would draw what is missing at random and only log a warning.
            raise UserError(f"{_KEY}: {self.folder} holds no whole SAM 3: it lacks {missing[0]}")
        return network, processor


def _chosen(masks: Tensor, scores: Tensor, noun: str, prompts: Prompts | None) -> Finding:
    """The instance that the prompts mean, or else the surest one, with what is doubtful."""
    if not len(scores):
        empty = np.zeros(masks.shape[-2:], bool)
        return Finding(empty, "SAM 3", (f"no {noun!r} was found",))
    order = scores.argsort(descending=True, stable=True)
    if prompts is not None:
        fits = torch.tensor([_fit(mask.numpy(), prompts) for mask in masks[order]])
        best = order[int(fits.argmax())]
        return Finding(tidy(masks[best].numpy()), "SAM 3, your prompts")
    doubts: tuple[str, ...] = ()
    if len(order) > 1 and scores[order[1]] > _RIVAL * scores[order[0]]:
        doubts = (f"there may be more than one {noun}",)
    return Finding(tidy(masks[order[0]].numpy()), "SAM 3", doubts)


def _fit(mask: Mask, prompts: Prompts) -> float:
    """How well a mask answers prompts: points held, less the background's, and the box's IoU."""
    height, width = mask.shape

    def held(points: Sequence[tuple[float, float]]) -> int:
        rows = [min(int(y), height - 1) for _, y in points]
        columns = [min(int(x), width - 1) for x, _ in points]
        return int(mask[rows, columns].sum()) if points else 0

    fit = float(held(prompts.points) - held(prompts.background_points))
    if prompts.box is not None:
        left, top, right, bottom = (round(value) for value in prompts.box)
        framed = np.zeros_like(mask)
        framed[top:bottom, left:right] = True
        fit += float((mask & framed).sum() / max(1, (mask | framed).sum()))
    return fit
