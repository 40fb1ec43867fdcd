"""The prompts of a subject's drawings, as the loaders of validation, test and predict."""

from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor
from torch.utils.data import DataLoader

from idgen.backbones.backbone import Backbone
from idgen.data.batch import DrawingBatch
from idgen.data.cast import Cast
from idgen.data.prompts import suite_templates
from idgen.data.shard import ShardedBatches, drawing_requests
from idgen.data.subject import Subject
from idgen.devices import sent
from idgen.errors import UserError
from idgen.models.decoupling import PhotoFeatures
from idgen.sampling import DrawingRequest

Suite = str | list[str]
"""`mini` or another suite's name, a file, or prompts."""

Prompts = list[tuple[str, str]]
"""Each as the backbone reads it, and without the token."""


class DrawingData(L.LightningDataModule):
    """What of a subject is to be drawn, each process's share.

    Attributes:
        subject: Who is drawn.
        cast: The same, and whoever is learnt together with it.
        backbone: Who reads the prompts.
        validation_images: Images of each prompt in validation.
        test_images: The same in `test`.
        predict_images: The same in `predict`.
        drawing_batch_size: Images drawn at once.
        drawing_seed: Of their starting noise.
        reference_features: Of the photo whose scene is kept, `1 D` each; None for none.
        reference_weight: How much of it.
    """

    subject: Subject
    cast: Cast
    backbone: Backbone
    validation_images: int
    test_images: int
    predict_images: int
    drawing_batch_size: int
    drawing_seed: int
    reference_weight: float
    reference_features: PhotoFeatures | None = None

    def read_suites(self, validation: Suite, test: Suite, predict: Suite) -> None:
        """Reads the prompts.

        Raises:
            UserError: If some cannot be used.
        """
        self.test_suite = test
        self.validation_prompts = self.read_prompts(validation, "validation_prompts")
        self.test_prompts = self.read_prompts(test, "test_prompts")
        # Drawings that are not scored may show one of two.
        self.predict_prompts = self.read_prompts(predict)

    def read_prompts(self, suite: Suite, scored: str | None = None) -> Prompts:
        """Prompts of a suite as the backbone reads them.

        Args:
            suite: A suite's name, a file, or prompts with [V] in them.
            scored: The setting they come from, where their drawings are scored; each prompt then
                has to name every subject of the run. None for drawings that are not.

        Raises:
            UserError: If one cannot be used.
        """
        if isinstance(suite, str):
            suite = suite_templates(suite, self.subject.live, self.subject.class_noun)
        suite = [self.cast.filled(prompt) for prompt in suite]
        if not suite:
            raise UserError("a list of prompts is empty; name one with [V] in it")
        prompts = [self.cast.read(prompt) for prompt in suite]
        for prompt in suite:
            if scored is not None:
                self.cast.check_named(prompt, scored)
            self.cast.check_words(prompt, self.backbone)
        return [(prompt.spoken, prompt.plain) for prompt in prompts]

    def validation_texts(self) -> list[str]:
        """The prompts of validation as the backbone reads them."""
        return [spoken for spoken, _ in self.validation_prompts]

    def val_dataloader(self) -> DataLoader[DrawingRequest]:
        """The validation prompts, this process's share."""
        return self._drawing_loader(self.validation_prompts, self.validation_images)

    def test_dataloader(self) -> DataLoader[DrawingRequest]:
        """The test suite, this process's share."""
        return self._drawing_loader(self.test_prompts, self.test_images)

    def predict_dataloader(self) -> DataLoader[DrawingRequest]:
        """The prompts of `predict`, this process's share."""
        return self._drawing_loader(self.predict_prompts, self.predict_images)

    def _drawing_loader(
        self, prompts: Sequence[tuple[str, str]], images: int
    ) -> DataLoader[DrawingRequest]:
        requests = drawing_requests(prompts, images, self.drawing_seed)
        rank, world_size = self._process()
        batches = ShardedBatches(len(requests), self.drawing_batch_size, rank, world_size)
        # A list is all a DataLoader needs of a map-style dataset.
        return DataLoader(requests, batch_sampler=batches, collate_fn=self._collate_drawings)  # type: ignore[arg-type]

    def _collate_drawings(self, requests: list[DrawingRequest]) -> DrawingBatch:
        return DrawingBatch(requests, self.reference_features, self.reference_weight)

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Lightning's hook: the batch's tensors there, without having the host wait for it."""
        return apply_to_collection(batch, Tensor, sent, device=device)

    def _process(self) -> tuple[int, int]:
        trainer = self.trainer
        return (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)
