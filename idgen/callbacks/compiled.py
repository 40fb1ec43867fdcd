"""The denoiser is compiled for training, and draws as it is."""

from typing import Any

import lightning as L
import torch

from idgen.compilation import CompilationPlan
from idgen.module import PersonalizationModule


class CompiledDenoiser(L.Callback):
    """Compiles once the weights are there; drawings, whose batches have other sizes, stay eager."""

    def __init__(self, plan: CompilationPlan) -> None:
        """Takes what was decided.

        Args:
            plan: How it is compiled.
        """
        self.plan = plan

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compiles in place."""
        assert isinstance(pl_module, PersonalizationModule)
        self.plan.apply(pl_module.backbone.denoiser)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Says that what the step before has left in CUDA graphs is used no more."""
        if self.plan.by_graphs:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draws without what was compiled."""
        torch.compiler.set_stance("force_eager")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Goes on with it."""
        torch.compiler.set_stance("default")

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Leaves torch as it was."""
        torch.compiler.set_stance("default")
