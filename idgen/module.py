"""The LightningModule: batch -> condition -> losses -> log."""

import math
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from idgen.backbones.backbone import Backbone
from idgen.backbones.frozen_text import FrozenTextBackbone
from idgen.backbones.latents import sample_latents
from idgen.backbones.text import SubjectWords
from idgen.data.batch import PriorBatch, SceneBatch, SubjectBatch
from idgen.data.datamodule import SubjectDataModule
from idgen.devices import seed_randomness
from idgen.errors import UserError
from idgen.finite_losses import FiniteLosses
from idgen.logged_module import LoggedModule
from idgen.models.conditioning import (
    ConditioningCallable,
    ConditioningFactory,
)
from idgen.models.tuning import Tuning
from idgen.optimization import Optimization
from idgen.plateau import follow
from idgen.processes import FadingBackground, NoisedLatents
from idgen.sampling import Sampler
from idgen.seeds import seed_of
from idgen.terms import Term
from idgen.terms.objective import Objective
from idgen.terms.step import Step


class PersonalizationModule(LoggedModule):
    """Trains a tuning and a conditioning on a frozen backbone.

    It is light until `configure_model`, Lightning's hook, brings the weights in. Checkpoints hold
    what is trained, and no frozen weight.
    """

    def __init__(
        self,
        backbone: Backbone,
        tuning: Tuning,
        conditioning: ConditioningCallable,
        terms: dict[str, Term | None] | None = None,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        scheduler: LRSchedulerCallable | None = None,
        sampler: Sampler | None = None,
        token: str = "sks",
        class_noun: str = "",
        seed: int = 0,
        background_noise: FadingBackground | None = None,
        text_lr: float | None = None,
    ) -> None:
        """Puts the parts together; no weights are loaded yet.

        Args:
            backbone: The frozen model.
            tuning: What is trained inside it.
            conditioning: How features become the condition, built for the backbone's features.
            terms: What is minimised: L is the sum of these terms; None for the paper's, L1 to L4.
            optimizer: Over the trained parameters alone.
            scheduler: Of the learning rate, stepped each training step; None is constant.
            sampler: How validation, test and predict draw.
            token: What [V] becomes in prompts; for tunings that train it.
            class_noun: What the subject is, such as `dog`; for tunings that start from it.
            seed: Of the weights that training starts from, and of the noise and times in it.
            background_noise: Hides the photos' background, less and less while training goes on;
                None leaves photos as they are.
            text_lr: Learning rate of what is trained in the text encoders; None for the
                optimizer's own.

        Raises:
            UserError: If a word that the tuning needs cannot be a token, or the parts do not go
                together.
            ValueError: If text_lr is no rate.
        """
        super().__init__()
        if text_lr is not None and not (text_lr > 0 and math.isfinite(text_lr)):
            raise ValueError("text_lr must be finite and above 0, or null for the optimizer's own")
        self.backbone = backbone
        self.tuning = tuning
        self.words = SubjectWords(token, class_noun)
        for word in tuning.words(self.words):
            backbone.add_word(word)
        self._conditioning = ConditioningFactory(conditioning)
        with torch.device("meta"):
            light = conditioning(backbone.features)
        # Not yet a part of the module: what has no data cannot be moved, as Lightning moves modules
        # even where a run is refused. `configure_model` puts the real one in its place.
        self.__dict__["conditioning"] = light
        self.objective = Objective(terms, light, tuning)
        self.optimization = Optimization(optimizer, scheduler, text_lr)
        self.sampler = sampler or Sampler()
        self.seed = seed
        self.background_noise = background_noise

    # Before there are weights

    def check(self, fit: bool) -> None:
        """Refuses what could not run, and makes sure that the weights are there; loads none.

        Args:
            fit: Whether it is to be trained.

        Raises:
            UserError: If a target fits no layer, a value is out of range, or weights are missing.
        """
        self.sampler.check(self.backbone)
        _ = self.trained_shapes
        if fit:
            if self.optimization.text_lr is not None and not self.tuning.trains_text:
                raise UserError(
                    "text_lr: nothing is trained on the text side; leave it out, or give the "
                    "tuning a text_rank above 0"
                )
            self.optimization.check()
            self.objective.check(self.backbone)
        self.backbone.check()

    def check_features(self, width: int) -> None:
        """Refuses embeddings of photos that the conditioning cannot take.

        Args:
            width: Of the image encoder's embeddings.

        Raises:
            UserError: If the conditioning takes another.
        """
        taken = self.conditioning.image_width
        if taken in (None, width):
            return
        twin = self.backbone.features.twin
        raise UserError(
            f"preparation.image_encoder: its embeddings have width {width}, the conditioning takes "
            f"{taken}; use the image twin of the backbone's text encoder"
            f"{f', {twin}' if twin else ''}, or set conditioning.image_width to {width}, which "
            "adds a learnt projection"
        )

    def check_photos(self, count: int) -> None:
        """Refuses a set of more or fewer photos than the method can learn from.

        Args:
            count: How many photos there are.

        Raises:
            UserError: If it cannot.
        """
        most = self.conditioning.photos
        if most is not None and count > most:
            raise UserError(
                f"{type(self.conditioning).__name__}.photos: it is {most}, and there are {count} "
                f"photos; set it to {count}"
            )
        self.objective.check_photos(count)

    def check_length(self, steps: int | None, trained: int = 0) -> None:
        """Refuses what does not fit the length of the run.

        Args:
            steps: Of the whole run; None where it is not known.
            trained: Those of them that a resumed run has behind it.

        Raises:
            UserError: If the background's noise fades over a run whose length is not known, or the
                schedule is shorter than the run.
        """
        if self.background_noise is not None and steps is None:
            raise UserError(
                "trainer.max_steps: the background's noise fades over the whole run, whose length "
                "is not known; set max_steps, or leave background_noise out"
            )
        self.optimization.check_length(max(steps or 0, trained))

    def check_class_images(self, given: bool) -> None:
        """Refuses a term about class images without them, and class images without such a term.

        Args:
            given: Whether there are class images (`data.prior`).

        Raises:
            UserError: If one is there without the other.
        """
        if self.objective.needs_class_images != given:
            raise UserError(
                "data.prior: terms.prior_preservation and data.prior go together; "
                + ("leave data.prior out, or add the term" if given else "set data.prior")
            )

    def check_scene_images(self, given: bool, pasted: bool) -> None:
        """Refuses a term about scene images without them, and scene images that nothing uses.

        Args:
            given: Whether there are scene images (`data.scenes`).
            pasted: Whether composites use their backgrounds (`data.composites`).

        Raises:
            UserError: If one is there without the other.
        """
        needed = self.objective.needs_scene_images
        if needed and not given:
            raise UserError("data.scenes: terms.SceneDiffusion needs scene images; set data.scenes")
        if given and not needed and not pasted:
            raise UserError(
                "data.scenes: no term uses the scene images; add terms.SceneDiffusion, or leave "
                "data.scenes out"
            )

    def check_companion(self) -> None:
        """Refuses what knows of one subject's word alone, where two are learnt together.

        Raises:
            UserError: If there is such a part.
        """
        if self.tuning.words(self.words):
            raise UserError(
                f"data.companion: {self.tuning.name} trains the word of one subject; take "
                "LoraTuning, or leave the companion out"
            )
        for name, term in self.objective.terms.items():
            if any(asked.attention is not None for asked in term.asks):
                raise UserError(
                    f"terms.{name}: it looks for the word of one subject; leave it, or "
                    "data.companion, out"
                )

    def mask_readers(self) -> list[str]:
        """What in the method's training needs the subject's masks; known before weights are.

        f'_i is among it: x' is the photo without what its mask shows.
        """
        terms = self.objective.terms.items()
        readers = [f"terms.{name}" for name, term in terms if term.reads_masks]
        readers += ["background_noise"] if self.background_noise is not None else []
        return [*readers, "f'_i"] if self.conditioning.explicit else readers

    def configure_model(self) -> None:
        """Loads the backbone, attaches the tuning, builds the conditioning; once.

        Before a fit, frozen text encoders read all that it will need of them, and go.

        Raises:
            UserError: If weights are missing or do not fit.
        """
        if self._frozen_keys is None:
            try:
                self._bring_weights_in()
            except BaseException:
                # Lightning, giving up, moves the module to the CPU, where shapes alone cannot go.
                self.conditioning.to_empty(device="cpu")
                raise
            self._frozen_keys = self._find_frozen_keys()
        if self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            self._keep_texts()

    def _bring_weights_in(self) -> None:
        with torch.random.fork_rng(devices=[]):
            _ = self.trained_shapes
            self.backbone.load()
            torch.manual_seed(self.seed)
            self.backbone.attach(self.tuning, self.words)
            self.conditioning = self._conditioning.build(self.backbone.features)

    def texts_let_go(self) -> tuple[str, ...]:
        """The frozen text encoders that are not in memory in training; known before weights are."""
        if not isinstance(self.backbone, FrozenTextBackbone):
            return ()
        inside = (key.removeprefix("backbone.") for key in self.trained_shapes)
        return self.backbone.frozen_texts(list(inside), self.tuning.trains_text)

    def _keep_texts(self) -> None:
        """Lets go of frozen text encoders, where it is known what is going to be read."""
        data: Any = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, SubjectDataModule):
            return
        prompts = data.training_texts()
        if self.trainer.limit_val_batches:
            prompts += [*data.validation_texts(), self.sampler.negative_prompt]
        self.backbone.keep_texts(prompts, self.trainer.strategy.root_device)

    # Training

    def on_fit_start(self) -> None:
        """Forgets what an earlier fit of this module ended with."""
        self._finite = FiniteLosses()

    def on_train_start(self) -> None:
        """Lets the configured optimizer and schedule win over those of a resumed checkpoint."""
        if self.global_step == 0:
            return
        optimizer = self.trainer.optimizers[0]
        schedules = self.trainer.lr_scheduler_configs
        restored = schedules[0].scheduler if schedules else None
        going_on = self.optimization.resumed(optimizer, self.global_step, restored)
        if going_on is not None:
            schedules[0].scheduler = going_on

    def on_train_batch_start(self, batch: SubjectBatch, batch_idx: int) -> None:
        """Makes the step's randomness a function of seed, batch and rank.

        So a resumed run draws what an uninterrupted one would have, whatever happened between. It
        logs at the same steps too, which Lightning counts one off where it resumes at validation.
        """
        self.trainer.fit_loop.epoch_loop._batches_that_stepped = self.global_step
        seed_randomness(seed_of(self.seed, batch.position, self.global_rank), self.device)

    def training_step(self, batch: SubjectBatch, batch_idx: int) -> Tensor:
        """Section 2 of the method: text, condition, noise, the terms' losses, their sum.

        Args:
            batch: Cached latents and features of photos, and their prompts.
            batch_idx: Unused.

        Returns:
            L, a scalar.
        """
        text = self.backbone.encode(batch.prompts)
        shown = None if batch.photos is None else batch.photos.numbers
        condition = self.conditioning.of_photos(text, batch.features, shown)
        noised = self._noised(batch)
        prior = None if batch.prior is None else self._noised(batch.prior)
        scenes = None if batch.scenes is None else self._noised(batch.scenes)

        step = Step(
            batch,
            noised,
            text,
            condition,
            prior,
            self.backbone,
            self.conditioning,
            self.words,
            scenes,
        )
        losses = self.objective.losses(step)
        total = self.objective.total(losses)
        self._log_step(total, losses, condition)
        return total

    def _noised(self, batch: SubjectBatch | PriorBatch | SceneBatch) -> NoisedLatents:
        latents = sample_latents(batch.latent_mean, batch.latent_log_variance)
        clean = self.backbone.scale_latents(latents)
        if self.background_noise is not None and isinstance(batch, SubjectBatch):
            strength = self.background_noise.strength(self._progress)
            clean = self.background_noise(clean, batch.subject_mask, strength)
            if self._logs_this_step():
                self.log("train/background_noise", strength)
        channels, height, width = clean.shape[1:]
        noised = self.backbone.process_of((channels, height, width)).noised(clean)
        if isinstance(batch, SubjectBatch):
            return noised._replace(framing=batch.framing)
        return noised

    @property
    def _progress(self) -> float:
        """Which share of the training steps is done after the present one, from 0 to 1."""
        return (self.global_step + 1) / self.trainer.estimated_stepping_batches

    def on_before_backward(self, loss: Tensor) -> None:
        """Stops all processes once a loss was no number; no checkpoint is written after it.

        Raises:
            UserError: If the loss before this one was infinite or NaN, in any of them.
        """
        self._finite.check()
        self._finite.note(loss, self.global_step + 1, self._least)

    def _least(self, value: Tensor) -> Tensor:
        """A scalar's least value over the processes."""
        # Not the strategy's `reduce`, which has the host wait for all processes first.
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(value, op=torch.distributed.ReduceOp.MIN)
        return value

    def on_train_end(self) -> None:
        """Looks at the last loss.

        Raises:
            UserError: If it was infinite or NaN.
        """
        self._finite.check()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what `TrainedModule` adds.

        Raises:
            UserError: If the last loss, or a weight, is infinite or NaN.
        """
        self._finite.check()
        super().on_save_checkpoint(checkpoint)

    def _trained(self) -> list[torch.nn.Parameter]:
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Steps the schedule.

        Raises:
            UserError: If it ends here, which is known before only of a run whose length is.
        """
        try:
            super().lr_scheduler_step(scheduler, metric)
        except ValueError as error:
            raise UserError(
                f"scheduler: it ends at step {self.global_step}, and the run does not ({error}); "
                "make it longer, or set trainer.max_steps; the checkpoints are those from before"
            ) from error

    def configure_optimizers(self) -> Any:
        """The optimizer over what is trained, and the schedule of its rate."""
        text = [
            parameter
            for encoder in self.backbone.tuned_text_encoders.values()
            for parameter in encoder.parameters()
            if parameter.requires_grad
        ]
        return self.optimization.configured(self._trained(), text)

    # Validation

    def on_validation_start(self) -> None:
        """Looks at the last loss before work is put into drawings.

        Raises:
            UserError: If it was infinite or NaN.
        """
        self._finite.check()
        super().on_validation_start()

    def on_validation_epoch_end(self) -> None:
        """Shows the scores to a schedule that follows one, before a checkpoint holds it."""
        if self.trainer.state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking:
            for schedule in self.trainer.lr_scheduler_configs:
                follow(schedule.scheduler, self.trainer.callback_metrics)
