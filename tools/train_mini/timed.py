"""Training for a set time, shared by the parts of the pipeline: it goes on where a kill left it."""

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress
from torch import Tensor, nn

from tools.train_mini.checkpoint import save_atomically
from tools.train_mini.share import Share

_SAVE_EVERY = 120.0
_REPORT_EVERY = 50


def cosine_fall(share: float) -> float:
    """Share of the peak rate left when ``share`` of the time is spent: half a cosine to 0."""
    return 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def late_fall(share: float) -> float:
    """Full rate for three fifths of the time, then linear down to a twentieth."""
    return max(0.05, min(1.0, (1 - share) / 0.4))


@dataclass(frozen=True)
class TimedSchedule:
    """How long and how fast to train.

    Attributes:
        seconds: Time to train, restarts counted together.
        rate: Peak learning rate of AdamW.
        fall: Share of the time spent to share of the peak rate.
        warmup: Steps over which the rate rises.
        weight_decay: Of AdamW.
    """

    seconds: float
    rate: float
    fall: Callable[[float], float]
    warmup: int = 200
    weight_decay: float = 0.0


class TimedTraining:
    """Trains the weights of a model that want gradients, and averages all of them.

    Args:
        model: What to train, in place.
        loss_of_step: The loss of step k and the number to report, a scalar tensor each. All that
            is random in it must follow from k and, with several processes, from the rank.
        schedule: Time and rates.
        checkpoint: File to save to and to go on from.
        share: This process among those that train together; gradients are averaged over them.

    Attributes:
        ema: The running average of the model's state, which is what to use.
        step: Steps done.
        spent: Seconds spent.
    """

    def __init__(
        self,
        model: nn.Module,
        loss_of_step: Callable[[int], tuple[Tensor, Tensor]],
        schedule: TimedSchedule,
        checkpoint: Path,
        share: Share,
    ) -> None:
        self._share = share
        self._model, self._loss_of_step = model, loss_of_step
        self._schedule, self._checkpoint = schedule, checkpoint
        self._trained = [weight for weight in model.parameters() if weight.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._trained,
            schedule.rate,
            betas=(0.9, 0.99),
            weight_decay=schedule.weight_decay,
            fused=True,
        )
        self.ema = {key: value.clone() for key, value in model.state_dict().items()}
        self.step, self.spent = 0, 0.0
        if checkpoint.exists():
            self._resume()

    def _resume(self) -> None:
        device = self._trained[0].device
        state = torch.load(self._checkpoint, map_location=device, weights_only=True)
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.ema, self.step, self.spent = state["ema"], state["step"], state["spent"]

    def save(self) -> None:
        """Write the checkpoint to go on from; rank 0 does it for all."""
        if self._share.rank:
            return
        state: dict[str, Any] = {
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        state |= {"ema": self.ema, "step": self.step, "spent": self.spent}
        save_atomically(state, self._checkpoint)

    def train_step(self, spent: float) -> float:
        """Do one step; returns the number to report.

        Args:
            spent: Seconds spent so far, as this process sees it; ``self.spent`` is the mean over
                the processes, so that they all stop after the same step.
        """
        schedule = self._schedule
        warmth = min(1.0, (self.step + 1) / schedule.warmup)
        for group in self._optimizer.param_groups:
            group["lr"] = schedule.rate * warmth * schedule.fall(self.spent / schedule.seconds)
        loss, reported = self._loss_of_step(self.step)
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.spent = self._share.average(self._trained, spent)
        torch.nn.utils.clip_grad_norm_(self._trained, 1.0)
        self._optimizer.step()
        decay = min(0.999, (self.step + 1) / (self.step + 10))
        current = self._model.state_dict()
        with torch.no_grad():
            for key, value in self.ema.items():
                value.lerp_(current[key], 1 - decay)
        self.step += 1
        return reported.item()

    def run(self, describe: Callable[[int, float], str], on_save: Callable[[], None]) -> None:
        """Train until the time is spent, saving every two minutes.

        Args:
            describe: Steps done and the running mean of the number reported to a line of progress.
            on_save: Called whenever a checkpoint was written.
        """
        started, saved = time.monotonic() - self.spent, time.monotonic()
        running: float | None = None
        with Progress(disable=self._share.rank > 0) as progress:
            bar = progress.add_task("", total=self._schedule.seconds)
            if self.step:
                left = max(0.0, self._schedule.seconds - self.spent)
                progress.console.print(
                    f"{self._checkpoint}: {self.step} steps in {self.spent:.0f} s done before, "
                    f"{left:.0f} s to go"
                )
            while self.spent < self._schedule.seconds:
                value = self.train_step(time.monotonic() - started)
                running = value if running is None else 0.98 * running + 0.02 * value
                text = describe(self.step, running)
                progress.update(bar, completed=self.spent, description=text)
                if self._share.rank == 0 and self.step % _REPORT_EVERY == 0:
                    progress.console.print(f"{self.spent:.0f} s: {text}")
                if time.monotonic() - saved > _SAVE_EVERY or self.spent >= self._schedule.seconds:
                    self.save()
                    on_save()
                    saved = time.monotonic()


def timed_parser(
    description: str, seconds: float, batch: int, rate: float
) -> argparse.ArgumentParser:
    """The options that all timed trainings have, with the defaults of one."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--work", type=Path, required=True, help="folder of the training run")
    parser.add_argument(
        "--seconds", type=float, default=seconds, help="of training, restarts counted together"
    )
    parser.add_argument("--batch", type=int, default=batch, help="pictures a step and process")
    parser.add_argument("--rate", type=float, default=rate, help="peak learning rate")
    parser.add_argument("--device", default="cpu", help="torch device")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--begin-with", type=Path, help="folder of weights to begin with")
    return parser
