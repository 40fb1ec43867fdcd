"""The LightningModule: batch -> condition -> losses -> log."""

import hashlib
import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import lightning as L
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from idgen.data.batch import DrawingBatch, PriorBatch, SubjectBatch
from idgen.diffusion import NoisedLatents, sample_latents
from idgen.errors import UserError
from idgen.idle_weights import check_weights_can_act, warn_of_idle_weights
from idgen.losses import (
    LossWeights,
    denoising_loss,
    implicit_explicit_loss,
    implicit_text_loss,
    subject_region,
    text_explicit_loss,
)
from idgen.models.backbone import Backbone
from idgen.models.conditioning import Condition, ConditioningCallable
from idgen.models.fusion import expert_load, router_entropy
from idgen.models.origin import Origin
from idgen.models.text import SubjectWords, TextStates
from idgen.models.tuning import Tuning
from idgen.optimization import Optimization
from idgen.sampling import Drawings, Sampler

CHECKPOINT_KEY = "idgen"


class PersonalizationModule(L.LightningModule):
    """Trains a tuning and a conditioning on a frozen backbone.

    Checkpoints hold what is trained, and no frozen weight.
    """

    def __init__(
        self,
        backbone: Backbone,
        tuning: Tuning,
        conditioning: ConditioningCallable,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        scheduler: LRSchedulerCallable | None = None,
        loss_weights: LossWeights | None = None,
        sampler: Sampler | None = None,
        min_snr_gamma: float | None = None,
        token: str = "sks",
        class_noun: str = "",
        seed: int = 0,
    ) -> None:
        """Loads the backbone's weights and puts the parts together.

        Args:
            backbone: The frozen model.
            tuning: What is trained inside it.
            conditioning: How features become the condition, built for the backbone's width.
            optimizer: Over the trained parameters alone.
            scheduler: Of the learning rate, stepped each training step; None is constant.
            loss_weights: l1 to l6, and the prior's.
            sampler: How validation, test and predict draw.
            min_snr_gamma: Gamma of Min-SNR weights over time; None weighs all times alike.
            token: What [V] becomes in prompts; for tunings that train it.
            class_noun: What the subject is, such as `dog`; for tunings that start from it.
            seed: Of the noise and times in training.

        Raises:
            UserError: If the weights cannot be loaded, the backbone lacks what is to be tuned, or
                a value is out of range.
        """
        if min_snr_gamma is not None and not (min_snr_gamma > 0 and math.isfinite(min_snr_gamma)):
            raise UserError("--model.min_snr_gamma must be finite and above 0, or null")
        super().__init__()
        weights = loss_weights or LossWeights()
        check_weights_can_act(weights, tuning)
        backbone.load()
        tuning.attach(backbone, SubjectWords(token, class_noun))
        self.backbone = backbone
        self.tuning = tuning
        self.conditioning = conditioning(backbone.width)
        self.optimization = Optimization(optimizer, scheduler)
        self.loss_weights = weights
        self.sampler = sampler or Sampler()
        self.sampler.check(backbone, "--model.sampler")
        self.min_snr_gamma = min_snr_gamma
        self.seed = seed
        self.origin = Origin.of(backbone, tuning, self.conditioning)
        self.trained_steps = 0
        self._frozen_keys = self._find_frozen_keys()
        self._drawing = ExitStack()
        warn_of_idle_weights(weights, tuning, self.conditioning)

    @property
    def _has_weak_denoising(self) -> bool:
        return self.loss_weights.weak_denoising > 0 and self.conditioning.decouples

    # Training

    def on_train_batch_start(self, batch: SubjectBatch, batch_idx: int) -> None:
        """Makes the step's randomness a function of seed, batch and rank.

        So a resumed run draws what an uninterrupted one would have, whatever happened between.
        """
        text = f"{self.seed}\0{batch.position}\0{self.global_rank}"
        torch.manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big"))

    def training_step(self, batch: SubjectBatch, batch_idx: int) -> Tensor:
        """Section 2 of the method: condition, noise, L1 to L6, and the prior's loss.

        Args:
            batch: Cached latents and features of photos, and their prompts' tokens.
            batch_idx: Unused.

        Returns:
            L, a scalar.
        """
        text = self.backbone.encode_text(batch.tokens)
        condition = self.conditioning(text, batch.features)
        noised = self._noised(batch)

        losses = self._denoising_losses(batch, noised, text, condition)
        losses |= self._decoupling_losses(text, condition)
        if batch.prior is not None:
            losses["prior_preservation"] = self._prior_loss(batch.prior)

        total = torch.stack(
            [getattr(self.loss_weights, name) * loss for name, loss in losses.items()]
        ).sum()
        self._log_step(total, losses, condition)
        return total

    def _noised(self, batch: SubjectBatch | PriorBatch) -> NoisedLatents:
        latents = sample_latents(batch.latent_mean, batch.latent_log_variance)
        clean = self.backbone.scale_latents(latents)
        return self.backbone.schedule.noised(clean, self.min_snr_gamma)

    def _predicted(self, noised: NoisedLatents, condition: TextStates) -> Tensor:
        return self.backbone.predict(noised.noisy, noised.times, condition)

    def _denoising_losses(
        self, batch: SubjectBatch, noised: NoisedLatents, text: TextStates, condition: Condition
    ) -> dict[str, Tensor]:
        """L1 under f_r and, where they count, L5 and L6 under f_s: the same noised latents.

        Both conditions go through the denoiser in one call. That is faster than two, and keeps as
        much for the backward pass: `tools/benchmark_step.py`.
        """
        if not self.conditioning.decouples:
            return self._losses_under_text(
                "diffusion", batch, noised, self._predicted(noised, text)
            )
        if not self._has_weak_denoising:
            prediction = self._predicted(noised, condition.refined)
            return {"diffusion": denoising_loss(prediction, noised.target, noised.weight)}
        noisy, times = (torch.cat([part, part]) for part in (noised.noisy, noised.times))
        both = condition.refined.then(self.conditioning.infer(text))
        under_refined, under_text = self.backbone.predict(noisy, times, both).chunk(2)
        return {
            "diffusion": denoising_loss(under_refined, noised.target, noised.weight),
            **self._losses_under_text("weak_denoising", batch, noised, under_text),
        }

    def _losses_under_text(
        self, name: str, batch: SubjectBatch, noised: NoisedLatents, prediction: Tensor
    ) -> dict[str, Tensor]:
        """What a prediction under f_s alone should be: the subject; beside it, as it was."""
        region = subject_region(batch.subject_mask, self.loss_weights.background)
        losses = {name: denoising_loss(prediction, noised.target, noised.weight, region)}
        if self.loss_weights.background_preservation:
            losses["background_preservation"] = denoising_loss(
                prediction, self._frozen(batch, noised), noised.weight, 1 - batch.subject_mask
            )
        return losses

    @torch.no_grad()
    def _frozen(self, batch: SubjectBatch, noised: NoisedLatents) -> Tensor:
        """What the backbone predicts without its tuning, under the prompt without [V]."""
        with self.tuning.off(self.backbone):
            text = self.backbone.encode_text(batch.class_tokens)
            return self._predicted(noised, text)

    def _decoupling_losses(self, text: TextStates, condition: Condition) -> dict[str, Tensor]:
        """L2 to L4, as far as the method has the features they are about."""
        pooled, implicit, explicit = text.pooled(), condition.implicit, condition.explicit
        losses = {}
        if explicit is not None:
            losses["text_explicit"] = text_explicit_loss(pooled, explicit)
        if implicit is not None:
            losses["implicit_text"] = implicit_text_loss(implicit, pooled)
        if implicit is not None and explicit is not None:
            losses["implicit_explicit"] = implicit_explicit_loss(implicit, explicit)
        return losses

    def _prior_loss(self, prior: PriorBatch) -> Tensor:
        """The denoising error on class images under their own prompt (Ruiz et al. 2023, eq. 2)."""
        text = self.backbone.encode_text(prior.tokens)
        noised = self._noised(prior)
        prediction = self._predicted(noised, self.conditioning.infer(text))
        return denoising_loss(prediction, noised.target, noised.weight)

    def _log_step(self, total: Tensor, losses: dict[str, Tensor], condition: Condition) -> None:
        values = {f"train/{name}": loss.detach() for name, loss in losses.items()}
        if condition.gates is not None:
            gates = condition.gates.detach()
            values["train/router_entropy"] = router_entropy(gates)
            for index, load in enumerate(expert_load(gates)):
                values[f"train/expert_load_{index}"] = load
        self.log("train/loss", total.detach(), prog_bar=True)
        self.log_dict(values)

    def on_before_backward(self, loss: Tensor) -> None:
        """Stops all processes before a loss that is no number reaches the weights.

        Raises:
            UserError: If the loss of any of them is infinite or NaN.
        """
        finite = bool(loss.detach().isfinite())
        if not self.trainer.strategy.reduce_boolean_decision(finite, all=True):
            raise UserError(
                f"the loss is not finite at step {self.global_step + 1}; lower "
                "--model.optimizer.init_args.lr, or set --trainer.precision 32-true; the "
                "checkpoints are those from before"
            )

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Logs the norm of each trained part's gradient."""
        if not self._logs_this_step():
            return
        for part, module in self._trained_parts().items():
            gradients = [p.grad for p in module.parameters() if p.grad is not None]
            if gradients:
                self.log(f"train/grad_norm_{part}", torch.nn.utils.get_total_norm(gradients))

    def _logs_this_step(self) -> bool:
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        return every > 0 and (self.global_step + 1) % every == 0

    def _trained_parts(self) -> dict[str, torch.nn.Module]:
        parts = {"denoiser": self.backbone.denoiser}
        for index, encoder in enumerate(self.backbone.text_encoders):
            parts[f"text_encoder_{index}"] = encoder
        return parts | dict(self.conditioning.named_children())

    def _trained(self) -> list[torch.nn.Parameter]:
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def check_optimizer(self) -> None:
        """Builds an optimizer and its schedule for nothing but what they refuse.

        Raises:
            UserError: If a value of theirs is out of range.
        """
        self.optimization.check(self._trained())

    def configure_optimizers(self) -> Any:
        """The optimizer over what is trained, and the schedule of its rate."""
        return self.optimization.configured(self._trained())

    # Drawing

    def _draw(self, batch: DrawingBatch) -> Drawings:
        return self.sampler.draw(
            self.backbone,
            self.conditioning,
            batch.requests,
            self.device,
            batch.reference,
            batch.reference_weight,
        )

    def validation_step(self, batch: DrawingBatch, batch_idx: int) -> Drawings:  # type: ignore[override]
        """Draws the batch's prompts; callbacks score and keep the images."""
        return self._draw(batch)

    def test_step(self, batch: DrawingBatch, batch_idx: int) -> Drawings:  # type: ignore[override]
        """Draws the batch's prompts; callbacks score and keep the images."""
        return self._draw(batch)

    def predict_step(self, batch: DrawingBatch, batch_idx: int) -> Drawings:
        """Draws the batch's prompts; callbacks keep the images."""
        return self._draw(batch)

    def _open_autoencoder(self) -> None:
        self._drawing.enter_context(self.backbone.autoencoder(self.device))

    def _close_autoencoder(self) -> None:
        self._drawing.close()

    on_validation_start = on_test_start = on_predict_start = _open_autoencoder
    on_validation_end = on_test_end = on_predict_end = _close_autoencoder

    # Checkpoints

    def _find_frozen_keys(self) -> frozenset[str]:
        trained = {name for name, value in self.named_parameters() if value.requires_grad}
        return frozenset(set(super().state_dict()) - trained)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """What is trained, by name."""
        state: dict[str, Any] = super().state_dict(*args, **kwargs)
        prefix = kwargs.get("prefix", "")
        for key in self._frozen_keys:
            state.pop(prefix + key, None)
        return state

    def check_weights(self, given: Mapping[str, torch.Size]) -> None:
        """Compares the trained weights of a checkpoint with this module's.

        Args:
            given: Shapes by name.

        Raises:
            UserError: If one is missing, unknown, or of another shape.
        """
        wanted = {k: v.shape for k, v in self.named_parameters() if k not in self._frozen_keys}
        differing = sorted(k for k in wanted.keys() | given.keys() if wanted.get(k) != given.get(k))
        if differing:
            first = differing[0]
            raise UserError(
                f"checkpoint of another method or size: {len(differing)} weights differ, first "
                f"{first} ({_shape(given.get(first))} in the checkpoint, "
                f"{_shape(wanted.get(first))} in the config); test it with --ckpt_path alone"
            )

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Loads what was trained.

        Raises:
            UserError: If a trained weight is missing, unknown, or of another shape.
        """
        if strict:
            self.check_weights({key: value.shape for key, value in state_dict.items()})
        return super().load_state_dict(state_dict, strict=False, assign=assign)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what tells this backbone and method from others.

        Raises:
            UserError: If a weight is infinite or NaN, so that no good checkpoint is replaced.
        """
        for name, weight in checkpoint["state_dict"].items():
            if not weight.isfinite().all():
                raise UserError(
                    f"the weight {name} is not finite after step {self.global_step}, so no "
                    "checkpoint is written; lower --model.optimizer.init_args.lr"
                )
        checkpoint[CHECKPOINT_KEY] = {
            **checkpoint.get(CHECKPOINT_KEY, {}),
            **asdict(self.origin),
            "seed": self.seed,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses a checkpoint of another backbone or method.

        Raises:
            UserError: If it is one, or not idgen's at all.
        """
        made = checkpoint.get(CHECKPOINT_KEY)
        if made is None:
            raise UserError("the checkpoint was not written by idgen")
        trainer = self._trainer
        self.check_origin(made, trainer is not None and trainer.state.fn == TrainerFn.FITTING)
        self.trained_steps = checkpoint["global_step"]

    def check_origin(self, made: Mapping[str, Any], resumed: bool) -> None:
        """Compares what a checkpoint was trained on with this module.

        Args:
            made: What `on_save_checkpoint` added to it.
            resumed: Whether it is to be trained further, and not only drawn with.

        Raises:
            UserError: If the backbone or the method is another.
        """
        free = () if resumed else self.conditioning.of_inference
        self.origin.check(made, free)


def _shape(shape: torch.Size | None) -> str:
    return "absent" if shape is None else str(tuple(shape))
