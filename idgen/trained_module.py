"""What of a model is trained, and checkpoints that hold that alone."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from typing import Any

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn

from idgen import __version__
from idgen.backbones.backbone import Backbone
from idgen.backbones.text import SubjectWords
from idgen.errors import UserError
from idgen.integrity import WEIGHTS_ALONE, can_go_on, check_trained, weights_digest
from idgen.models.conditioning import Conditioning
from idgen.models.origin import Origin
from idgen.models.tuning import Tuning
from idgen.optimization import Optimization

CHECKPOINT_KEY = "idgen"


class TrainedModule(L.LightningModule):
    """A LightningModule that knows what of it is trained; its checkpoints hold no frozen weight.

    Attributes:
        backbone: The frozen model.
        tuning: What is trained inside it.
        words: What stands for the subject in prompts.
        conditioning: How features become the condition.
        optimization: Its optimizer and schedule.
        seed: Of what training starts from.
        trained_steps: Of the checkpoint that was loaded last; 0 before.
    """

    backbone: Backbone
    tuning: Tuning
    words: SubjectWords
    conditioning: Conditioning
    optimization: Optimization
    seed: int

    def __init__(self) -> None:
        super().__init__()
        self.trained_steps = 0
        self._frozen_keys: frozenset[str] | None = None
        self.register_load_state_dict_post_hook(_without_frozen_keys)  # type: ignore[no-untyped-call]

    @cached_property
    def trained_shapes(self) -> Mapping[str, torch.Size]:
        """The shape of each trained weight by name, and of a conditioning's buffers.

        It is known without weights, and what a checkpoint holds.

        Raises:
            UserError: If the backbone lacks what is to be tuned.
        """
        inside = self.tuning.declare(self.backbone, self.words)
        own = self.conditioning.state_dict()
        return {
            **{f"backbone.{name}": shape for name, shape in inside.items()},
            **{f"conditioning.{name}": value.shape for name, value in own.items()},
        }

    @property
    def origin(self) -> Origin:
        """What tells this backbone and method from others."""
        return Origin.of(self.backbone, self.tuning, self.conditioning)

    def _find_frozen_keys(self) -> frozenset[str]:
        return frozenset(set(super().state_dict()) - self.trained_shapes.keys())

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """What is trained, by name."""
        state: dict[str, Any] = super().state_dict(*args, **kwargs)
        prefix = kwargs.get("prefix", "")
        for key in self._frozen_keys or ():
            state.pop(prefix + key, None)
        return state

    def check_weights(self, given: Mapping[str, torch.Size]) -> None:
        """Compares the trained weights of a checkpoint with this module's.

        Args:
            given: Shapes by name.

        Raises:
            UserError: If one is missing, unknown, or of another shape.
        """
        wanted = self.trained_shapes
        differing = sorted(k for k in wanted.keys() | given.keys() if wanted.get(k) != given.get(k))
        if differing:
            first = differing[0]
            raise UserError(
                f"checkpoint of another method or size: {len(differing)} weights differ, first "
                f"{first} ({_shape(given.get(first))} in the checkpoint, "
                f"{_shape(wanted.get(first))} in the config); use the checkpoint's own config alone"
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
        """Adds what tells this backbone and method from others, and a checksum of the weights.

        Raises:
            UserError: If a weight is infinite or NaN, so that no good checkpoint is replaced.
        """
        for name, weight in checkpoint["state_dict"].items():
            if not weight.isfinite().all():
                raise UserError(
                    f"the weight {name} is not finite after step {self.global_step}, so no "
                    "checkpoint is written; lower the optimizer's lr"
                )
        checkpoint[CHECKPOINT_KEY] = {
            **checkpoint.get(CHECKPOINT_KEY, {}),
            **asdict(self.origin),
            "idgen_version": __version__,
            "seed": self.seed,
            "optimizer": self.optimization.kind,
            "weights_digest": weights_digest(checkpoint["state_dict"]),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses a checkpoint of another backbone or method, and a damaged one.

        Raises:
            UserError: If it is one, is not idgen's, or is to be trained on and cannot be.
        """
        made = checkpoint.get(CHECKPOINT_KEY)
        if made is None:
            raise UserError("the checkpoint was not written by idgen")
        trainer = self._trainer
        resumed = trainer is not None and trainer.state.fn == TrainerFn.FITTING
        if resumed and not can_go_on(checkpoint):
            raise UserError(WEIGHTS_ALONE)
        self.check_origin(made, resumed)
        check_trained(checkpoint["state_dict"], made.get("weights_digest"))
        self.trained_steps = checkpoint["global_step"]
        _begin_next_epoch(checkpoint)

    def check_origin(self, made: Mapping[str, Any], resumed: bool) -> None:
        """Compares what a checkpoint was trained on with this module.

        Args:
            made: What `on_save_checkpoint` added to it.
            resumed: Whether it is to be trained further, and not only drawn with.

        Raises:
            UserError: If the backbone or the method is another, or the optimizer of a resumed run.
        """
        optimizer = made.get("optimizer")
        if resumed and optimizer not in (None, self.optimization.kind):
            raise UserError(
                f"optimizer: the checkpoint holds the state of {optimizer}, which "
                f"{self.optimization.kind} cannot go on from; take that one, or start a new run"
            )
        free = () if resumed else self.conditioning.of_inference
        self.origin.check(made, free)


def _begin_next_epoch(checkpoint: dict[str, Any]) -> None:
    """Lets a run whose last epoch is done begin the next one, and not go on in it.

    Lightning would count the next batch as one more of that epoch, and its last: an epoch of one
    batch, after which the optimizer steps whether its gradients are all gathered or not. Nor would
    it count that epoch as done, so that `max_epochs` would be one more.
    """
    loops = checkpoint.get("loops", {}).get("fit_loop", {})
    batches = loops.get("epoch_loop.batch_progress")
    if not batches or not batches["is_last_batch"]:
        return
    batches["is_last_batch"] = False
    for count in loops["epoch_progress"].values():
        count["processed"] = count["completed"] = count["started"]
    optimizer = loops["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]
    of_the_epoch = (
        batches["current"],
        optimizer["step"]["current"],
        optimizer["zero_grad"]["current"],
        loops["epoch_loop.scheduler_progress"]["current"],
        # What Lightning calls its total is counted anew each epoch.
        loops["epoch_loop.val_loop.batch_progress"]["total"],
    )
    for counts in of_the_epoch:
        counts.update(dict.fromkeys(counts, 0))


def _without_frozen_keys(module: torch.nn.Module, keys: Any) -> None:
    """Frozen weights are not missing in a checkpoint, nor in one of an averaged model."""
    assert isinstance(module, TrainedModule)
    frozen = module._frozen_keys or frozenset()
    keys.missing_keys[:] = [
        key for key in keys.missing_keys if key.removeprefix("module.") not in frozen
    ]


def _shape(shape: torch.Size | None) -> str:
    return "absent" if shape is None else str(tuple(shape))
