"""Scores of what validation and test draw, over all processes."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_warn
from rich.console import Console
from rich.progress import track
from torch import Tensor

from idgen import __version__
from idgen.data.datamodule import SubjectDataModule
from idgen.data.prompts import suite_identity
from idgen.errors import UserError
from idgen.metrics.drawing_scores import (
    DrawingScore,
    Values,
    fidelity_scores,
    overfitting_scores,
)
from idgen.metrics.encoders import ClipScorer, DinoScorer
from idgen.metrics.leave_one_out import photo_scores
from idgen.metrics.observed import Observed, Observer
from idgen.metrics.protocol import PAIRING, Protocol
from idgen.metrics.truth_scores import (
    embed_lineup,
    embed_scenes,
    truth_scores,
    wants_a_photos_scene,
)
from idgen.mini.subjects import MiniSubject, read_subject
from idgen.module import PersonalizationModule
from idgen.prepare import MaskFiles, Segmenter
from idgen.prepare.segmenters.segmenter import of_drawings
from idgen.sampling import DrawingRequest, Drawings

FIDELITY = ("dino", "clip_i", "clip_t")
TEST_SCORES = (
    *FIDELITY,
    *("leakage", "masked_dino", "masked_clip_i", "diversity", "copying"),
    *("identity_accuracy", "background_accuracy"),
)


_OF_PHOTOS = "leakage, masked DINO, masked CLIP-I"
_OF_MASKS = f"{_OF_PHOTOS}, identity accuracy"


@dataclass
class ScoredDrawing:
    """One drawing's scores.

    Attributes:
        request: What was drawn.
        image: `3 H W` uint8.
        scores: By name; None for one that does not exist for it.
    """

    request: DrawingRequest
    image: Tensor
    scores: dict[str, float | None]


def balance(dino: float, clip_t: float) -> float:
    """The geometric mean of DINO and CLIP-T, 0 where one is negative."""
    return float((max(dino, 0.0) * max(clip_t, 0.0)) ** 0.5)


class FidelityScores(Callback):
    """Scores drawings against the photos and their prompts, over all processes.

    Validation computes DINO, CLIP-I and CLIP-T; `test` also the scores that tell overfitting
    from fidelity, what the photos score among themselves and, of a mini subject, how often
    drawings are truly right.

    The encoders stay out of the LightningModule, so that neither its checkpoints nor its
    optimizer see them, and in memory only while images are scored.
    """

    def __init__(
        self,
        clip: ClipScorer | None = None,
        dino: DinoScorer | None = None,
        segmenter: Segmenter | None = None,
    ) -> None:
        """Takes the scores' encoders, which are never the one that trains.

        Args:
            clip: For CLIP-I and CLIP-T; None for the mini world's. Published numbers use
                `ViT-B-32` with `openai`.
            dino: For DINO; None for the mini world's. Published numbers use
                `facebook/dino-vits16`.
            segmenter: Finds the subject in drawings, for `test`; None for the preparation's.
                Where that takes masks from files, one is needed here for leakage, masked DINO,
                masked CLIP-I and identity accuracy.
        """
        self.clip = clip or ClipScorer()
        self.dino = dino or DinoScorer()
        self.segmenter = segmenter
        self.scored: list[ScoredDrawing] = []
        self.scores: dict[str, float | None] = {}
        self.photo_scores: dict[str, float | None] = {}
        self.protocol: Protocol | None = None
        self._each: list[DrawingScore] = []
        self._truth: MiniSubject | None = None
        self._lineup: Tensor | None = None
        self._observer = Observer(self.clip, self.dino)
        self._loaded = ExitStack()

    def check(self) -> None:
        """Finds the models' files, encoders' from the hub where they are not there yet.

        Raises:
            UserError: If there is no such model, it cannot be fetched, or the segmenter of
                drawings takes masks from files.
        """
        if isinstance(self.segmenter, MaskFiles):
            raise UserError(
                "--fidelity.segmenter: drawings have no mask files; give another than MaskFiles, "
                "such as idgen.prepare.SamSegmenter, or leave it out"
            )
        self.clip.fetch()
        self.dino.fetch()
        if self.segmenter is not None:
            _ = self.segmenter.identity

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Checks the models, and draws a mini subject's line-up, before any work starts."""
        if stage == "predict":
            return
        self.check()
        if stage == "test":
            self._truth = read_subject(_datamodule(trainer).subject.photos_folder)
            if self._truth is not None:
                self._lineup = self._embed_lineup(trainer, self._truth)

    def _embed_lineup(self, trainer: L.Trainer, truth: MiniSubject) -> Tensor:
        quiet = not trainer.is_global_zero or trainer.progress_bar_callback is None

        def shown(work: Sequence[int]) -> Any:
            return track(
                work,
                f"drawing other {truth.noun}s to tell this one from",
                console=Console(stderr=True),
                disable=quiet,
            )

        with self.dino.loaded(trainer.strategy.root_device):
            return embed_lineup(truth, self.dino, shown)

    # What is looked at, and with what

    def _load_encoders(self, device: torch.device) -> None:
        self.scored = []
        self._observer = Observer(self.clip.load(device), self.dino.load(device))

    def _start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._load_encoders(pl_module.device)
        photos = Observed(_datamodule(trainer).reference_photos(), self._observer)
        self._each = fidelity_scores(photos, pl_module.device)

    def _start_test(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        datamodule, device = _datamodule(trainer), pl_module.device
        self._load_encoders(device)
        segmenter = self._load_segmenter(datamodule, device)
        photos, masked = self._observe_photos(datamodule)
        self.photo_scores = photo_scores(photos)
        prompts = len(datamodule.test_prompts)
        self._each = fidelity_scores(photos, device)
        if self._truth is None or self._lineup is None:
            self._each += overfitting_scores(photos, prompts, device)
        else:
            known = partial(wants_a_photos_scene, self._truth)
            scenes = embed_scenes(self._truth.noun, self.clip)
            self._each += overfitting_scores(photos, prompts, device, known)
            self._each += truth_scores(self._truth, self._lineup.to(device), scenes, device)
        self.protocol = self._describe(pl_module, datamodule, segmenter, masked)

    def _load_segmenter(
        self, datamodule: SubjectDataModule, device: torch.device
    ) -> Segmenter | None:
        """Loads what takes drawings apart, and returns what finds the subject in them."""
        preparation = datamodule.preparation
        segmenter = self.segmenter or preparation.segmenter_for(datamodule.backbone)
        if isinstance(segmenter, MaskFiles):
            _say_undefined(
                "drawings have no mask files; give --fidelity.segmenter, such as "
                "idgen.prepare.GrabCutSegmenter",
                _OF_MASKS,
            )
            return None
        try:
            segment = self._loaded.enter_context(segmenter.loaded(device, datamodule.photos))
            inpaint = self._loaded.enter_context(preparation.inpainter.loaded(device))
        except UserError as error:
            if self.segmenter is not None:
                raise
            _say_undefined(str(error), _OF_MASKS)
            return None
        self._observer = Observer(self.clip, self.dino, of_drawings(segment), inpaint)
        return segmenter

    def _observe_photos(self, datamodule: SubjectDataModule) -> tuple[Observed, bool]:
        """The photos, and whether their masks and backgrounds are there."""
        pictures = datamodule.reference_photos()
        try:
            masks, backgrounds = datamodule.reference_parts()
        except UserError as error:
            _say_undefined(str(error))
            nothing = [None] * len(pictures)
            return Observed(pictures, self._observer, (), nothing, nothing), False
        return Observed(pictures, self._observer, (), masks, backgrounds), True

    def _describe(
        self,
        module: L.LightningModule,
        datamodule: SubjectDataModule,
        segmenter: Segmenter | None,
        masked: bool,
    ) -> Protocol:
        assert isinstance(module, PersonalizationModule)
        preparation, sampler = datamodule.preparation, module.sampler
        of_photos = preparation.segmenter_for(datamodule.backbone)
        return Protocol(
            dino=self.dino.model,
            dino_revision=self.dino.revision,
            dino_identity=self.dino.identity,
            dino_preprocessing=asdict(self.dino.preprocessing),
            clip=self.clip.model,
            clip_revision=self.clip.pretrained,
            clip_identity=self.clip.identity,
            clip_preprocessing=asdict(self.clip.preprocessing),
            pairing=PAIRING,
            photo_segmenter=of_photos.identity if masked else None,
            segmenter=None if segmenter is None else segmenter.identity,
            inpainter=None if segmenter is None else preparation.inpainter.identity,
            sampler={"name": type(sampler).__name__, **vars(sampler)},
            drawing_seed=datamodule.drawing_seed,
            prompts=suite_identity(datamodule.test_suite),
            images_per_prompt=datamodule.test_images,
            idgen_version=__version__,
        )

    def _score(self, drawings: Drawings) -> None:
        seen = Observed(drawings.images, self._observer, drawings.requests)
        columns = {score.name: score.add(seen) for score in self._each}
        for row, (request, image) in enumerate(
            zip(drawings.requests, drawings.images, strict=True)
        ):
            scores = {name: column[row] for name, column in columns.items()}
            self.scored.append(ScoredDrawing(request, image, scores))

    def _finish(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        # Computed on all processes: the states are summed over them here.
        scores = {score.name: score.result() for score in self._each}
        requests = [drawing.request for drawing in self.scored]
        for score in self._each:
            column: Values = [drawing.scores[score.name] for drawing in self.scored]
            completed = score.completed(requests, column)
            for drawing, value in zip(self.scored, completed, strict=True):
                drawing.scores[score.name] = value
        dino, clip_t = scores["dino"], scores["clip_t"]
        names = TEST_SCORES if stage == "test" else FIDELITY
        self.scores = {
            **{name: scores[name] for name in FIDELITY},
            "balance": None if dino is None or clip_t is None else balance(dino, clip_t),
            **{name: scores.get(name) for name in names if name not in FIDELITY},
        }
        named = {f"{stage}/{n}": value for n, value in self.scores.items() if value is not None}
        if trainer.sanity_checking:
            if trainer.logger is not None:
                trainer.logger.log_metrics(named, step=trainer.global_step)
            return
        for name, value in named.items():
            shown = name in (f"{stage}/dino", f"{stage}/clip_t")
            pl_module.log(name, value, prog_bar=shown, sync_dist=False, rank_zero_only=False)

    def _release(self) -> None:
        self._each = []
        self._lineup = None
        self._observer = Observer(self.clip, self.dino)
        self._loaded.close()
        self.clip.release()
        self.dino.release()

    # When

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Loads the encoders."""
        self._start(trainer, pl_module)

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Loads the encoders, the segmenter and the inpainter."""
        self._start_test(trainer, pl_module)

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Scores a batch of drawings."""
        self._score(outputs)

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Scores a batch of drawings."""
        self._score(outputs)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Logs the means over all processes, and frees the encoders."""
        self._finish(trainer, pl_module, "val")
        self._release()

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Logs the means over all processes, and frees what was loaded."""
        self._finish(trainer, pl_module, "test")
        self._release()


def _datamodule(trainer: L.Trainer) -> SubjectDataModule:
    datamodule = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(datamodule, SubjectDataModule)
    return datamodule


def _say_undefined(reason: str, scores: str = _OF_PHOTOS) -> None:
    rank_zero_warn(f"{scores} are left empty: {reason}")
