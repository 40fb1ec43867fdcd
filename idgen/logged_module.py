"""What a training logs of its steps: losses, gates, the rate, gradients."""

from typing import Any

import torch
from lightning.pytorch.callbacks import LambdaCallback
from torch import Tensor

from idgen.drawing_module import DrawingModule
from idgen.finite_losses import FiniteLosses
from idgen.models.conditioning import Condition
from idgen.models.fusion import expert_load, router_entropy


class LoggedModule(DrawingModule):
    """Logs at the trainer's logged steps alone, but for a loss that is shown or followed.

    Attributes:
        shows_loss: Whether Lightning's progress bar is to show the loss of a step, for which the
            host waits for the device; False where a bar takes `loss_before`.
    """

    def __init__(self) -> None:
        """Shows the loss."""
        super().__init__()
        self.shows_loss = True
        self._finite = FiniteLosses()

    @property
    def loss_before(self) -> float | None:
        """The loss of the step before the last, or the last one's once training is over."""
        return self._finite.last

    def _log_step(self, total: Tensor, losses: dict[str, Tensor], condition: Condition) -> None:
        # Lightning takes a twelfth of a small step to note a dozen values, most for no logger.
        logged = self._logs_this_step()
        shown = self.shows_loss and self._has_progress_bar()
        if logged or shown or self._loss_is_followed():
            self.log("train/loss", total.detach(), prog_bar=shown)
        if not logged:
            return
        values = {f"train/{name}": loss.detach() for name, loss in losses.items()}
        if condition.gates is not None:
            gates = condition.gates.detach()
            values["train/router_entropy"] = router_entropy(gates)
            for index, load in enumerate(expert_load(gates)):
                values[f"train/expert_load_{index}"] = load
        self.log_dict(values)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Logs the step's learning rate, and the norm of each trained part's gradient."""
        if not self._logs_this_step():
            return
        self.log("train/learning_rate", float(optimizer.param_groups[0]["lr"]))
        if self.optimization.text_lr is not None:
            self.log("train/text_learning_rate", float(optimizer.param_groups[-1]["lr"]))
        for part, module in self._trained_parts().items():
            gradients = [p.grad for p in module.parameters() if p.grad is not None]
            if gradients:
                self.log(f"train/grad_norm_{part}", torch.nn.utils.get_total_norm(gradients))

    def _logs_this_step(self) -> bool:
        if self._trainer is None:
            return False
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        return every > 0 and (self.global_step + 1) % every == 0

    def _has_progress_bar(self) -> bool:
        return self._trainer is not None and self.trainer.progress_bar_callback is not None

    def _loss_is_followed(self) -> bool:
        """Whether a callback, such as a checkpoint, may look at losses between logged steps."""
        callbacks = [] if self._trainer is None else self.trainer.callbacks  # type: ignore[attr-defined]
        return any(_may_follow_the_loss(callback) for callback in callbacks)

    def _trained_parts(self) -> dict[str, torch.nn.Module]:
        parts = {"denoiser": self.backbone.denoiser}
        for index, encoder in self.backbone.tuned_text_encoders.items():
            parts[f"text_encoder_{index}"] = encoder
        return parts | dict(self.conditioning.named_children())


def _may_follow_the_loss(callback: Any) -> bool:
    """Whether it may look at each step's loss, unless it says so itself by `follows_loss`.

    Those of idgen do not. Lightning's do if told to. What others do is not known.
    """
    said = getattr(callback, "follows_loss", None)
    if isinstance(said, bool):
        return said
    package = type(callback).__module__.split(".")[0]
    if package == "idgen":
        return False
    told = (str(getattr(callback, name, None)) for name in ("monitor", "filename"))
    is_known = package == "lightning" and not isinstance(callback, LambdaCallback)
    return not is_known or any("train/loss" in name for name in told)
