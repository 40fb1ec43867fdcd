"""The one way images are sampled: validation, test, predict and `idgen sample` all use it."""

import hashlib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from idgen.errors import UserError
from idgen.models.backbone import Backbone
from idgen.models.conditioning import Conditioning
from idgen.models.decoupling import PhotoFeatures
from idgen.models.text import TextStates


class DrawingRequest(NamedTuple):
    """One image to draw.

    Attributes:
        prompt: What the backbone reads, the subject's token in it.
        plain_prompt: The prompt without the token, for CLIP-T and captions.
        prompt_index: The prompt's place in its suite.
        number: Which of the prompt's images, from 0.
        seed: The suite's seed.
    """

    prompt: str
    plain_prompt: str
    prompt_index: int
    number: int
    seed: int


class Drawings(NamedTuple):
    """Images drawn, and what was asked for.

    Attributes:
        images: `B 3 H W` uint8, on the CPU.
        requests: One for each image.
    """

    images: Tensor
    requests: list[DrawingRequest]


def drawing_noise(request: DrawingRequest, shape: tuple[int, int, int], step: int = 0) -> Tensor:
    """The noise of an image at a step: a function of seed, plain prompt, number and step alone.

    The subject's token takes no part, so that methods with tokens of their own are drawn from the
    same noise. It is drawn on the CPU, so that it is the same on every device and for any number of
    processes.

    Args:
        request: The image.
        shape: (C, h, w).
        step: 0 is the noise it starts from, the others what a stochastic solver adds.

    Returns:
        Standard normal, `C h w`.
    """
    text = f"{request.seed}\0{request.plain_prompt}\0{request.number}"
    if step:
        text += f"\0{step}"
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def to_uint8(pixels: Tensor) -> Tensor:
    """Pixels in [-1, 1], clipped, to 0 to 255, `B 3 H W`."""
    return ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


class Sampler:
    """DPM-Solver++ (Lu et al. 2022) with classifier-free guidance (Ho & Salimans 2022)."""

    def __init__(
        self,
        steps: int = 25,
        guidance: float = 5.0,
        negative_prompt: str = "",
        stochastic: bool = False,
    ) -> None:
        """Sets how images are drawn.

        Args:
            steps: Denoising steps.
            guidance: Scale w of `uncond + w (cond - uncond)`; 1 leaves guidance out.
            negative_prompt: The prompt of the unconditional half.
            stochastic: Whether to solve the reverse-time SDE (Song et al. 2021), which adds fresh
                noise at every step, instead of the ODE. The noise mends what a small or briefly
                trained denoiser got wrong at an earlier step; a drawing is still the same every
                time.

        Raises:
            ValueError: If steps is below 1, or guidance negative, infinite or NaN.
        """
        if steps < 1:
            raise ValueError("steps must be 1 or more")
        if guidance < 0 or not math.isfinite(guidance):
            raise ValueError("guidance must be finite and not negative")
        self.steps = steps
        self.guidance = guidance
        self.negative_prompt = negative_prompt
        self.stochastic = stochastic

    def check(self, backbone: Backbone, key: str) -> None:
        """Refuses more steps than the backbone's noise schedule has, and too long a prompt.

        Args:
            backbone: Whose schedule and tokenizer are used.
            key: The sampler's config key, for the error.

        Raises:
            UserError: If there are more, or if the negative prompt is longer than it takes.
        """
        most = backbone.schedule.steps
        if self.steps > most:
            raise UserError(
                f"{key}.init_args.steps: {self.steps} are more than the {most} of the backbone's "
                "noise schedule"
            )
        try:
            backbone.tokenize([self.negative_prompt])
        except UserError as error:
            raise UserError(f"{key}.init_args.negative_prompt: {error}") from error

    def _solver(self, backbone: Backbone, device: torch.device) -> Any:
        from diffusers import DPMSolverMultistepScheduler

        algorithm = "sde-dpmsolver++" if self.stochastic else "dpmsolver++"
        solver = DPMSolverMultistepScheduler.from_config(
            backbone.scheduler_config, algorithm_type=algorithm
        )
        solver.set_timesteps(self.steps, device=device)
        return solver

    def _condition(
        self,
        backbone: Backbone,
        conditioning: Conditioning,
        prompts: Sequence[str],
        device: torch.device,
        reference: PhotoFeatures | None,
        weight: float,
    ) -> TextStates:
        text = backbone.encode_text(_to(backbone.tokenize(prompts), device))
        condition = conditioning.infer(text, reference, weight)
        if self.guidance == 1:
            return condition
        empty = backbone.encode_text(_to(backbone.tokenize([self.negative_prompt]), device))
        return empty.then(condition)

    @torch.no_grad()
    def draw(
        self,
        backbone: Backbone,
        conditioning: Conditioning,
        requests: Sequence[DrawingRequest],
        device: torch.device,
        reference: PhotoFeatures | None = None,
        weight: float = 0.0,
    ) -> Drawings:
        """Draws one batch.

        Args:
            backbone: Loaded, on the device.
            conditioning: On the device.
            requests: The images; none gives an empty batch.
            device: Where to draw.
            reference: A photo's features, `1 D` each, whose scene is to be kept.
            weight: How much of the reference.

        Returns:
            The images, in the order of the requests.
        """
        if not requests:
            size = backbone.resolution
            return Drawings(torch.empty(0, 3, size, size, dtype=torch.uint8), [])
        prompts = [request.prompt for request in requests]
        condition = self._condition(backbone, conditioning, prompts, device, reference, weight)
        solver = self._solver(backbone, device)

        def noise(step: int) -> Tensor:
            drawn = [drawing_noise(request, backbone.latent_shape, step) for request in requests]
            return torch.stack(drawn).to(device)

        latents = noise(0) * solver.init_noise_sigma
        for step, time in enumerate(solver.timesteps, start=1):
            prediction = self._guided(backbone, solver, latents, time, condition)
            added = noise(step) if self.stochastic else None
            latents = solver.step(prediction, time, latents, variance_noise=added).prev_sample
        with backbone.autoencoder(device) as autoencoder:
            pixels = autoencoder.decode(backbone.unscale_latents(latents))
        return Drawings(to_uint8(pixels).cpu(), list(requests))

    def _guided(
        self, backbone: Backbone, solver: Any, latents: Tensor, time: Tensor, condition: TextStates
    ) -> Tensor:
        doubled = latents if self.guidance == 1 else torch.cat([latents, latents])
        times = time.expand(len(doubled)).to(latents.device)
        prediction = backbone.predict(solver.scale_model_input(doubled, time), times, condition)
        if self.guidance == 1:
            return prediction
        without, with_prompt = prediction.chunk(2)
        return without + self.guidance * (with_prompt - without)


def _to(tokens: Any, device: torch.device) -> Any:
    return type(tokens)(*(value.to(device) for value in tokens))
