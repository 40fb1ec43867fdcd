"""DINO, CLIP-I and CLIP-T of what validation and test draw."""

from dataclasses import dataclass
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from idgen.data.datamodule import SubjectDataModule
from idgen.metrics.encoders import ClipScorer, DinoScorer
from idgen.metrics.similarity import (
    MeanScore,
    mean_reference_similarity,
    text_alignment,
)
from idgen.sampling import DrawingRequest, Drawings


@dataclass
class ScoredDrawing:
    """One drawing's scores.

    Attributes:
        request: What was drawn.
        image: `3 H W` uint8.
        dino: Mean cosine to the photos, in [-1, 1].
        clip_i: The same by CLIP.
        clip_t: Cosine to the prompt, in [-1, 1].
    """

    request: DrawingRequest
    image: Tensor
    dino: float
    clip_i: float
    clip_t: float


def balance(dino: float, clip_t: float) -> float:
    """The geometric mean of DINO and CLIP-T, 0 where one is negative."""
    return float((max(dino, 0.0) * max(clip_t, 0.0)) ** 0.5)


class FidelityScores(Callback):
    """Scores every drawing against every photo and its prompt, over all processes.

    The encoders stay out of the LightningModule, so that neither its checkpoints nor its
    optimizer see them, and in memory only while images are scored.
    """

    def __init__(self, clip: ClipScorer | None = None, dino: DinoScorer | None = None) -> None:
        """Takes the scores' encoders, which are never the one that trains.

        Args:
            clip: For CLIP-I and CLIP-T; None for the mini world's. Published numbers use
                `ViT-B-32` with `openai`.
            dino: For DINO; None for the mini world's. Published numbers use
                `facebook/dino-vits16`.
        """
        self.clip = clip or ClipScorer()
        self.dino = dino or DinoScorer()
        self.scored: list[ScoredDrawing] = []
        self.scores: dict[str, float] = {}
        self._metrics = {name: MeanScore() for name in ("dino", "clip_i", "clip_t")}
        self._references: dict[str, Tensor] = {}

    def check(self) -> None:
        """Finds the encoders' files, from the hub where they are not there yet.

        Raises:
            UserError: If there is no such model, or it cannot be fetched.
        """
        self.clip.fetch()
        self.dino.fetch()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Checks the encoders before any work starts."""
        if stage != "predict":
            self.check()

    def protocol(self) -> dict[str, str]:
        """What decides the scores, to tell whether two of them can be compared."""
        return {
            "clip": self.clip.model,
            "clip_identity": self.clip.identity,
            "dino": self.dino.model,
            "dino_identity": self.dino.identity,
            "pairing": "every drawing against every photo; prompt without its token",
        }

    def _start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        device = pl_module.device
        self.clip.load(device)
        self.dino.load(device)
        for metric in self._metrics.values():
            metric.to(device)
            metric.reset()
        self.scored = []
        datamodule = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(datamodule, SubjectDataModule)
        photos = datamodule.reference_photos()
        self._references = {
            "dino": self.dino.embed_images(photos),
            "clip": self.clip.embed_images(photos),
        }

    def _score(self, drawings: Drawings) -> None:
        by_dino = self.dino.embed_images(drawings.images)
        by_clip = self.clip.embed_images(drawings.images)
        prompts = self.clip.embed_texts([r.plain_prompt for r in drawings.requests])
        each_score = {
            "dino": mean_reference_similarity(by_dino, self._references["dino"]),
            "clip_i": mean_reference_similarity(by_clip, self._references["clip"]),
            "clip_t": text_alignment(by_clip, prompts),
        }
        for name, scores in each_score.items():
            self._metrics[name].update(scores)
        columns = (scores.tolist() for scores in each_score.values())
        each = zip(drawings.requests, drawings.images, *columns, strict=True)
        self.scored += [ScoredDrawing(*row) for row in each]

    def _finish(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        # Computed on all processes: the states are summed over them here.
        scores = {name: float(metric.compute()) for name, metric in self._metrics.items()}
        scores["balance"] = balance(scores["dino"], scores["clip_t"])
        self.scores = scores
        named = {f"{stage}/{name}": value for name, value in scores.items()}
        if trainer.sanity_checking:
            if trainer.logger is not None:
                trainer.logger.log_metrics(named, step=trainer.global_step)
            return
        for name, value in named.items():
            shown = name.endswith(("dino", "clip_t"))
            pl_module.log(name, value, prog_bar=shown, sync_dist=False, rank_zero_only=False)

    def _release(self) -> None:
        self.clip.release()
        self.dino.release()
        self._references = {}

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Loads the encoders and embeds the photos."""
        self._start(trainer, pl_module)

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Loads the encoders and embeds the photos."""
        self._start(trainer, pl_module)

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
        """Logs the means over all processes, and frees the encoders."""
        self._finish(trainer, pl_module, "test")
        self._release()
