"""The training loop that the encoders share: it goes on where a kill left it."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.progress import Progress
from torch import Tensor, nn

from idgen.errors import UserError
from tools.train_mini.checkpoint import save_atomically

_WARMUP = 60
_SAVE_EVERY = 50


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes:
        steps: Optimiser steps.
        rate: Peak learning rate of AdamW; it rises over 60 steps and falls linearly to a fiftieth.
        decay: Weight decay.
    """

    steps: int
    rate: float
    decay: float = 0.05

    def rate_at(self, step: int) -> float:
        """Learning rate of step number ``step``."""
        return self.rate * min(1.0, (step + 1) / _WARMUP) * max(0.02, 1 - step / self.steps)


def train(
    name: str,
    model: nn.Module,
    loss_of_step: Callable[[int], Tensor],
    schedule: Schedule,
    work: Path,
) -> None:
    """Train a model, saving ``work/NAME.ckpt`` on the way and going on from it.

    Args:
        name: Of the checkpoint and of the progress bar.
        model: What to train, in place; its buffers are saved too.
        loss_of_step: The loss of step k. Everything random in it must follow from k.
        schedule: Steps and rates.
        work: Working folder.
    """
    path = work / f"{name}.ckpt"
    optimizer = torch.optim.AdamW(model.parameters(), schedule.rate, weight_decay=schedule.decay)
    first = _resume(path, model, optimizer)
    model.train()
    with Progress() as progress:
        if first:
            left = max(0, schedule.steps - first)
            progress.console.print(f"{path}: {first} steps done before, {left} to go")
        bar = progress.add_task(name, total=schedule.steps, completed=first)
        smooth: float | None = None
        for step in range(first, schedule.steps):
            loss = loss_of_step(step)
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate_at(step)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            value = float(loss.detach())
            smooth = value if smooth is None else 0.95 * smooth + 0.05 * value
            progress.update(bar, completed=step + 1, description=f"{name} {smooth:.3f}")
            if (step + 1) % _SAVE_EVERY == 0 or step + 1 == schedule.steps:
                progress.console.print(f"step {step + 1}: loss {smooth:.4f}")
                _save(path, model, optimizer, step + 1)
    model.eval()


def load_checkpoint(name: str, model: nn.Module, work: Path) -> int:
    """Put the weights of ``work/NAME.ckpt`` into a model; return how many steps they had.

    Raises:
        UserError: If there is no such checkpoint.
    """
    path = work / f"{name}.ckpt"
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path} to export; train first")
    saved = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(saved["model"])
    model.eval()
    return int(saved["step"])


def _resume(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    if not path.is_file():
        return 0
    saved = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    return int(saved["step"])


def _save(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    save_atomically(state, path)


def training_parser(description: str) -> argparse.ArgumentParser:
    """The options that every training has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--work", type=Path, required=True, help="working folder")
    parser.add_argument("--device", default="cpu", help="torch device")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument(
        "--begin-with", type=Path, help="folder of a stored model whose weights to begin with"
    )
    parser.add_argument(
        "--export-only", action="store_true", help="export the last checkpoint, train no further"
    )
    return parser
