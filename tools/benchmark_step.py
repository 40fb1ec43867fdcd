"""Times a training step that passes through the denoiser under f_r and under f_s.

Both passes see the same noised latents, so they can be two calls of B pictures, or one of 2 B with
the conditions one after the other. ``python -m tools.benchmark_step`` takes both ways by turns in
one process, so that what else the machine does meets both alike, and prints for each batch size
the medians, the quartiles of the pairs' ratios, and the bytes that wait for the backward pass.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median, quantiles

import torch
from torch import Tensor

from idgen.backbones import StableDiffusionBackbone
from idgen.backbones.backbone import Backbone
from idgen.backbones.text import SubjectWords, TextStates, TextTokens
from idgen.losses import denoising_loss
from idgen.models.conditioning import DecoupledFusion
from idgen.models.decoupling import PhotoFeatures
from idgen.models.tuning import LoraTuning
from idgen.processes import NoisedLatents

Passes = Callable[[Backbone, NoisedLatents, TextStates, TextStates], tuple[Tensor, Tensor]]


def two_calls(
    backbone: Backbone, noised: NoisedLatents, refined: TextStates, text: TextStates
) -> tuple[Tensor, Tensor]:
    """The predictions under both conditions, one call each."""
    return (
        backbone.predict(noised.noisy, noised.times, refined),
        backbone.predict(noised.noisy, noised.times, text),
    )


def one_call(
    backbone: Backbone, noised: NoisedLatents, refined: TextStates, text: TextStates
) -> tuple[Tensor, Tensor]:
    """The predictions under both conditions, in one call of twice the batch."""
    noisy, times = (torch.cat([value, value]) for value in (noised.noisy, noised.times))
    under_refined, under_text = backbone.predict(noisy, times, refined.then(text)).chunk(2)
    return under_refined, under_text


@dataclass(frozen=True)
class Step:
    """What a training step is made of, with base.yaml's parts and random latents and features.

    Attributes:
        backbone: With LoRA in it.
        conditioning: IEDM and FFM.
        tokens: The prompts', `B N`.
        features: f_p and f'_i, `B D` each.
        latents: x_0, `B C h w`.
    """

    backbone: Backbone
    conditioning: DecoupledFusion
    tokens: TextTokens
    features: PhotoFeatures
    latents: Tensor

    @classmethod
    def of(cls, backbone: Backbone, conditioning: DecoupledFusion, batch: int) -> "Step":
        """A step of so many pictures."""
        device = next(backbone.parameters()).device
        tokens = backbone.tokenize(["a photo of a sks robot"] * batch)
        photo, background = torch.randn(2, batch, backbone.features.width, device=device)
        latents = torch.randn(batch, *backbone.latent_shape, device=device)
        features = PhotoFeatures(photo, background)
        return cls(backbone, conditioning, tokens.to(device), features, latents)

    def loss(self, passes: Passes) -> Tensor:
        """L1 + L5."""
        text = self.backbone.encode_text(self.tokens)
        refined = self.conditioning(text, self.features).refined
        noised = self.backbone.process.noised(self.latents)
        predictions = passes(self.backbone, noised, refined, self.conditioning.infer(text))
        return torch.stack([denoising_loss(p, noised.target) for p in predictions]).sum()

    def gradient(self, passes: Passes) -> Tensor:
        """All gradients, as one vector."""
        parts = (*self.backbone.parameters(), *self.conditioning.parameters())
        trained = [part for part in parts if part.requires_grad]
        gradients = torch.autograd.grad(self.loss(passes), trained, allow_unused=True)
        return torch.cat([g.flatten() for g in gradients if g is not None])

    def seconds(self, passes: Passes) -> float:
        """Processor time of one step, or on an accelerator the time until it is through."""
        on_gpu = self.latents.is_cuda
        now = time.perf_counter if on_gpu else time.process_time
        start = now()
        self.gradient(passes)
        if on_gpu:
            torch.cuda.synchronize()
        return now() - start

    def kept_bytes(self, passes: Passes) -> int:
        """What the forward passes keep for the backward one, weights left out."""
        weights = {p.untyped_storage().data_ptr() for p in self.backbone.parameters()}
        kept: dict[int, Tensor] = {}

        def keep(tensor: Tensor) -> Tensor:
            kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = self.loss(passes)
        storages = [t.untyped_storage() for at, t in kept.items() if at not in weights]
        del loss
        return sum(storage.nbytes() for storage in storages)


def check_equal(step: Step) -> float:
    """The largest difference between both ways' gradients, as a share of the largest gradient."""
    gradients = []
    for passes in (two_calls, one_call):
        torch.manual_seed(0)
        gradients.append(step.gradient(passes))
    return float((gradients[0] - gradients[1]).abs().max() / gradients[0].abs().max())


def compare(step: Step, pairs: int) -> str:
    """Takes both ways by turns, the first of a pair changing; one line of what came out."""
    difference = check_equal(step)  # and warms both up
    times: dict[Passes, list[float]] = {two_calls: [], one_call: []}
    for pair in range(pairs):
        order = (two_calls, one_call) if pair % 2 else (one_call, two_calls)
        for passes in order:
            times[passes].append(step.seconds(passes))
    ratios = [one / two for one, two in zip(times[one_call], times[two_calls], strict=True)]
    low, middle, high = quantiles(ratios, n=4)
    two, one = (1000 * median(times[passes]) for passes in (two_calls, one_call))
    kept = [step.kept_bytes(passes) / 2**20 for passes in (two_calls, one_call)]
    return (
        f"batch {len(step.latents)}: two calls {two:.0f} ms, one {one:.0f} ms, ratio {middle:.3f} "
        f"({low:.3f} to {high:.3f}); kept for backward {kept[0]:.1f} and {kept[1]:.1f} MiB; "
        f"gradients differ by {difference:.1e}"
    )


def main() -> None:
    """Prints a line for each batch size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default="mini", help="a pipeline folder or hub id")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--pairs", type=int, default=20)
    args = parser.parse_args()
    torch.manual_seed(0)
    backbone = StableDiffusionBackbone(args.source, dtype=args.dtype)
    backbone.load()
    targets = ["to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2"]
    tuning = LoraTuning(rank=8, text_rank=4, targets=targets)
    backbone.attach(tuning, SubjectWords("sks", "robot"))
    backbone.to(args.device)
    conditioning = DecoupledFusion(backbone.features).to(args.device)
    for batch in args.batch:
        print(compare(Step.of(backbone, conditioning, batch), args.pairs), flush=True)


if __name__ == "__main__":
    main()
