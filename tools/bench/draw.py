"""Drawing a suite: a loop of pipeline calls, diffusers' pipeline in batches, and idgen.

``python -m tools.bench.draw`` draws the same pictures each way by turns in one process, so that
what else the machine does meets all alike, and prints medians and the medians and quartiles of
ratios round by round. *loop* is diffusers' pipeline with LoRA beside the weights, a call a picture,
as most scripts validate; *batched* the pipeline in batches and without LoRA; *beside* idgen with
LoRA beside the weights; *idgen* as it draws, LoRA folded into them. In half precision diffusers
decodes in that type, and idgen in float32, where no decoder overflows.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from unittest.mock import patch

import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from rich.console import Console
from rich.table import Table
from torch import Tensor

from idgen.backbones import StableDiffusionBackbone
from idgen.backbones.quantization import Dtype
from idgen.backbones.text import SubjectWords
from idgen.files import atomic_write
from idgen.models.conditioning import TextOnly
from idgen.models.tuning import LoraTuning
from idgen.sampling import DrawingRequest, Sampler, drawing_noise
from tools.command import run

TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2"]
_PROMPT = "a sks robot in the snow"


@contextmanager
def beside(tuning: LoraTuning) -> Iterator[None]:
    """LoRA stays beside the weights."""
    with patch.object(tuning, "folded", lambda backbone: nullcontext()):
        yield


def tuned(source: str, dtype: Dtype, device: str) -> StableDiffusionBackbone:
    """The backbone with LoRA whose B A is small and not 0."""
    backbone = StableDiffusionBackbone(source, dtype=dtype)
    backbone.load()
    torch.manual_seed(0)
    backbone.attach(LoraTuning(rank=8, text_rank=4, targets=TARGETS), SubjectWords("sks", "robot"))
    for name, weight in backbone.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    backbone.to(device)
    return backbone


@dataclass
class Drawers:
    """The ways to draw, of one backbone.

    Attributes:
        backbone: With LoRA.
        pipeline: Diffusers' around the same networks, LoRA beside the weights.
        plain: Diffusers' without LoRA.
        sampler: Deterministic, so that all ways draw alike.
        batch: Pictures at a time, where they are batched.
    """

    backbone: StableDiffusionBackbone
    pipeline: Any
    plain: Any
    sampler: Sampler
    batch: int

    @classmethod
    def of(cls, source: str, dtype: Dtype, device: str, steps: int, batch: int) -> "Drawers":
        """Loads both."""
        backbone = tuned(source, dtype, device)
        folder = backbone.pipeline.folder
        plain = StableDiffusionPipeline.from_pretrained(folder, dtype=backbone.dtype)
        plain.scheduler = DPMSolverMultistepScheduler.from_config(
            plain.scheduler.config, algorithm_type="dpmsolver++"
        )
        plain.set_progress_bar_config(disable=True)
        plain.to(device)
        [text] = backbone.text_encoders
        pipeline = StableDiffusionPipeline(
            **{**plain.components, "unet": backbone.denoiser, "text_encoder": text},
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        return cls(backbone, pipeline, plain, Sampler(steps, 4.0), batch)

    def requests(self, count: int) -> list[DrawingRequest]:
        """What is drawn."""
        return [DrawingRequest(_PROMPT, _PROMPT, 0, number, 0) for number in range(count)]

    def loop(self, count: int) -> Tensor:
        """A call of the pipeline a picture."""
        drawn = [self._called(self.pipeline, [one]) for one in self.requests(count)]
        return torch.cat(drawn)

    def batched(self, count: int) -> Tensor:
        """Calls of the pipeline without LoRA, in batches."""
        return torch.cat([self._called(self.plain, some) for some in self._batches(count)])

    def idgen(self, count: int) -> Tensor:
        """As idgen draws."""
        method = TextOnly(self.backbone.features)
        device = self.backbone.device
        with self.backbone.keeping_folds():
            drawn = [
                self.sampler.draw(self.backbone, method, some, device).images
                for some in self._batches(count)
            ]
        return torch.cat(drawn)

    def beside(self, count: int) -> Tensor:
        """As idgen would draw without folding."""
        assert isinstance(self.backbone.tuning, LoraTuning)
        with beside(self.backbone.tuning):
            return self.idgen(count)

    def _batches(self, count: int) -> list[list[DrawingRequest]]:
        every = self.requests(count)
        return [every[start : start + self.batch] for start in range(0, count, self.batch)]

    def _called(self, pipeline: Any, requests: Sequence[DrawingRequest]) -> Tensor:
        shape = self.backbone.latent_shape
        noise = torch.stack([drawing_noise(request, shape) for request in requests])
        images = pipeline(
            [request.prompt for request in requests],
            num_inference_steps=self.sampler.steps,
            guidance_scale=self.sampler.guidance,
            latents=noise.to(self.backbone.device, self.backbone.dtype),
            output_type="pt",
        ).images
        drawn: Tensor = (images.float() * 255).round().to(torch.uint8).cpu()
        return drawn


WAYS = ("loop", "batched", "beside", "idgen")


def measure(drawers: Drawers, count: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each way in each round, the order turning; one round more is not counted."""
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    device = drawers.backbone.device
    # Loaded once, as a validation does, and as the pipelines have it.
    with drawers.backbone.autoencoder(device):
        for number in range(rounds + 1):
            for way in WAYS if number % 2 else reversed(WAYS):
                taken = seconds(partial(getattr(drawers, way), count), device)
                if number:
                    times[way].append(taken)
    return times


def seconds(draw: Callable[[], object], device: torch.device) -> float:
    """Processor time on a CPU, the time until it is through on an accelerator."""
    now = time.process_time if device.type == "cpu" else time.perf_counter
    start = now()
    draw()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return now() - start


def row(count: int, times: dict[str, list[float]]) -> list[str]:
    """A line of the table."""
    each = [f"{1000 * median(times[way]) / count:.0f}" for way in WAYS]
    ratios = []
    for way in ("loop", "batched", "beside"):
        low, middle, high = quantiles(
            [a / b for a, b in zip(times[way], times["idgen"], strict=True)], n=4
        )
        ratios.append(f"{middle:.2f} ({low:.2f} to {high:.2f})")
    return [str(count), *each, *ratios]


def main() -> None:
    """Prints the table and writes the seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="a JSON file for the seconds")
    parser.add_argument("--source", default="mini", help="a pipeline folder or hub id")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--pictures", type=int, default=16)
    parser.add_argument("--batch", type=int, default=8, help="at a time, where there are batches")
    parser.add_argument("--rounds", type=int, default=8)
    args = parser.parse_args()
    if args.rounds < 2 or args.pictures < 1 or args.batch < 1:
        parser.error("--rounds: quartiles need 2 or more; --pictures and --batch: 1 or more")
    drawers = Drawers.of(args.source, args.dtype, args.device, args.steps, args.batch)
    times = measure(drawers, args.pictures, args.rounds)
    if args.output is not None:
        atomic_write(args.output, json.dumps(times, indent=1).encode())
    table = Table(
        *("pictures", *(f"{way} ms" for way in WAYS)),
        *("loop / idgen", "batched / idgen", "beside / idgen"),
    )
    table.add_row(*row(args.pictures, times))
    Console(width=140).print(table)


if __name__ == "__main__":
    run(main)
