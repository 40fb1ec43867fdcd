"""A few training steps on this device: how long one takes, and whether it changes anything."""

import time
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

import lightning as L
import torch
from jsonargparse import Namespace
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.utils.data import DataLoader

from idgen.data.datamodule import SubjectDataModule
from idgen.data.prompts import without_token
from idgen.doctor.made_up import MadeUpBatches
from idgen.doctor.memory import largest_latents
from idgen.module import PersonalizationModule
from idgen.runs.quiet import HeldLines

STEPS = 10
_OF_THE_TRIAL = ("accelerator", "precision", "accumulate_grad_batches", "gradient_clip_val")


@dataclass(frozen=True)
class Trial:
    """What came of it.

    Attributes:
        device: Where it ran.
        seconds: A step, the median without the first.
        moved: The largest change of what the denoiser predicts for a prompt with [V].
        peak: Bytes of the GPU's memory at most; None on a CPU.
    """

    device: torch.device
    seconds: float
    moved: float
    peak: int | None


class _Stopwatch(Callback):
    """Notes when each step ends."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **options: Any) -> None:
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())


def try_training(
    module: PersonalizationModule, data: SubjectDataModule, trainer: Namespace
) -> Trial:
    """Trains a few steps on made-up latents and features, which take as long as real ones.

    Args:
        module: Light; what it trains is changed afterwards.
        data: Says how large a batch is.
        trainer: The section of the config.

    Raises:
        UserError: If weights do not fit, or the loss is not finite.
    """
    watch, held = _Stopwatch(), HeldLines()
    subject = data.subject
    spoken = subject.spoken(subject.prompt)
    shape = largest_latents(data)
    batches = MadeUpBatches(module, data.batch_size, spoken, subject.prompt, shape)
    settings = {name: trainer[name] for name in _OF_THE_TRIAL if name in trainer}
    with TemporaryDirectory() as root:
        made = L.Trainer(
            **settings,
            devices=1,
            max_steps=STEPS,
            limit_val_batches=0,
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=root,
            callbacks=[watch],
        )
        try:
            module.configure_model()
            device = made.strategy.root_device
            texts = [spoken, without_token(subject.prompt), "", _prompt(module)]
            module.backbone.keep_texts(texts, device)
            module.to(device)
            before = _predicted(module, device)
            made.fit(module, DataLoader(batches, batch_size=None))
        finally:
            held.drop()
    module.to(device)
    moved = float((_predicted(module, device) - before).abs().max())
    steps = [late - early for early, late in zip(watch.times, watch.times[1:], strict=False)]
    median = sorted(steps)[len(steps) // 2] * made.accumulate_grad_batches
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return Trial(device, median, moved, peak)


def _prompt(module: PersonalizationModule) -> str:
    return f"a photo of a {module.words.token} {module.words.class_noun}"


@torch.no_grad()
def _predicted(module: PersonalizationModule, device: torch.device) -> Tensor:
    """What the denoiser predicts for a prompt with [V], always from the same noise."""
    backbone = module.backbone
    was_training = module.training
    module.eval()
    noise = torch.randn(2, *backbone.latent_shape, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([backbone.process.steps // 4, backbone.process.steps // 2], device=device)
    text = backbone.encode([_prompt(module)] * 2)
    predicted = backbone.predict(noise.to(device), times, module.conditioning.infer(text))
    module.train(was_training)
    return predicted.cpu()
