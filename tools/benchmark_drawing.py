"""Times drawing with LoRA folded into the weights against drawing with it beside them.

``python -m tools.benchmark_drawing`` draws the same pictures both ways by turns in one process, the
first of a pair changing, so that what else the machine does meets both alike. It prints for each
batch size the medians, the quartiles of the pairs' ratios and the largest difference in levels
of 255; with ``--dtype`` also how far both are from drawings in float32.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from statistics import median, quantiles
from unittest.mock import patch

import torch
from torch import Tensor

from idgen.backbones import StableDiffusionBackbone
from idgen.backbones.pipeline import Dtype
from idgen.backbones.text import SubjectWords
from idgen.models.conditioning import TextOnly
from idgen.models.tuning import LoraTuning
from idgen.sampling import DrawingRequest, Sampler

TARGETS = {
    "attention": ["to_q", "to_k", "to_v", "to_out.0"],
    "convolutions": ["to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2"],
}


@contextmanager
def beside(tuning: LoraTuning) -> Iterator[None]:
    """LoRA stays beside the weights, as it was before it could be folded."""
    with patch.object(tuning, "folded", lambda backbone: nullcontext()):
        yield


def tuned(source: str, dtype: Dtype, device: str, targets: list[str]) -> StableDiffusionBackbone:
    """The backbone with LoRA whose B A is small and not 0."""
    backbone = StableDiffusionBackbone(source, dtype=dtype)
    backbone.load()
    torch.manual_seed(0)
    backbone.attach(LoraTuning(rank=8, text_rank=4, targets=targets), SubjectWords("sks", "robot"))
    for name, weight in backbone.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    backbone.to(device)
    return backbone


def seconds(draw: Callable[[], object], device: str) -> float:
    """Processor time on a CPU, the time until it is through on an accelerator."""
    now = time.process_time if device == "cpu" else time.perf_counter
    start = now()
    draw()
    if device != "cpu":
        torch.cuda.synchronize()
    return now() - start


def compare(
    backbone: StableDiffusionBackbone, sampler: Sampler, batch: int, pairs: int, device: str
) -> tuple[str, Tensor, Tensor]:
    """A line of times, and the drawings folded and beside."""
    tuning = backbone.tuning
    assert isinstance(tuning, LoraTuning)
    method = TextOnly(backbone.features).to(device)
    requests = [DrawingRequest("a sks robot", "a robot", 0, number, 0) for number in range(batch)]

    def folded() -> Tensor:
        return sampler.draw(backbone, method, requests, torch.device(device)).images

    def unfolded() -> Tensor:
        with beside(tuning):
            return folded()

    with backbone.autoencoder(torch.device(device)):
        images = folded(), unfolded()
        times: dict[bool, list[float]] = {True: [], False: []}
        for pair in range(pairs):
            for which in (True, False) if pair % 2 else (False, True):
                times[which].append(seconds(folded if which else unfolded, device))
    ratios = [fast / slow for fast, slow in zip(times[True], times[False], strict=True)]
    low, middle, high = quantiles(ratios, n=4)
    line = (
        f"batch {batch}: beside {1000 * median(times[False]):.0f} ms, folded "
        f"{1000 * median(times[True]):.0f} ms, ratio {middle:.3f} ({low:.3f} to {high:.3f}); "
        f"at most {_apart(*images)} levels apart"
    )
    return line, *images


def _apart(one: Tensor, other: Tensor) -> int:
    return int((one.int() - other.int()).abs().max())


def main() -> None:
    """Prints a line for each batch size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default="mini", help="a pipeline folder or hub id")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--targets", choices=sorted(TARGETS), default="convolutions")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--pairs", type=int, default=10)
    args = parser.parse_args()
    targets, sampler = TARGETS[args.targets], Sampler(args.steps, 4.0)
    backbone = tuned(args.source, args.dtype, args.device, targets)
    for batch in args.batch:
        line, *images = compare(backbone, sampler, batch, args.pairs, args.device)
        print(line, flush=True)
        if args.dtype == "float32":
            continue
        exact = tuned(args.source, "float32", args.device, targets)
        _, reference, _ = compare(exact, sampler, batch, 2, args.device)
        away = [float((i.float() - reference.float()).abs().mean()) for i in images]
        print(f"  mean levels from float32: folded {away[0]:.3f}, beside {away[1]:.3f}", flush=True)


if __name__ == "__main__":
    main()
