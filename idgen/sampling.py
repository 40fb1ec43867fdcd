"""The one way images are sampled: validation, test, predict and `idgen sample` all use it."""

import copy
import inspect
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from idgen.backbones.backbone import Backbone
from idgen.backbones.text import TextStates
from idgen.devices import sent
from idgen.errors import UserError, first_line
from idgen.models.conditioning import Conditioning
from idgen.models.decoupling import PhotoFeatures
from idgen.placeholders import check_words
from idgen.processes import Solver, SolverKind
from idgen.seeds import seed_of


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

    @property
    def file(self) -> Path:
        """Where its picture goes, from the folder that all of it is in."""
        words = re.sub(r"[^\w]+", "-", self.prompt).strip("-")[:60]
        try:
            os.fsencode(words)
        except UnicodeEncodeError:  # a machine whose file names are not UTF-8
            words = re.sub(r"[^A-Za-z0-9_-]+", "", words)
        return Path("images") / f"{self.prompt_index:03d}-{words}-{self.number}.png"


_STAND_IN = DrawingRequest("", "", 0, 0, 0)


class Drawings(NamedTuple):
    """Images drawn, and what was asked for.

    Attributes:
        images: `B 3 H W` uint8, on the CPU.
        requests: One for each image.
        finite: Whether they are pictures: none holds a number that is infinite or NaN.
    """

    images: Tensor
    requests: list[DrawingRequest]
    finite: bool = True


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
    of_step = (step,) if step else ()
    seed = seed_of(request.seed, request.plain_prompt, request.number, *of_step)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def to_uint8(pixels: Tensor) -> Tensor:
    """Pixels in [-1, 1], clipped, to 0 to 255, `B 3 H W`."""
    return ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


class Sampler:
    """Solves the backbone's noise process from noise to latents, guided by a prompt."""

    def __init__(
        self,
        steps: int = 25,
        guidance: float = 5.0,
        negative_prompt: str = "",
        stochastic: bool = False,
        solver: SolverKind | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        """Sets how images are drawn.

        Args:
            steps: Denoising steps.
            guidance: Its scale: w of `uncond + w (cond - uncond)`, where 1 leaves guidance out, or
                the denoiser's own input in families that have one.
            negative_prompt: The prompt of the unconditional half.
            stochastic: Whether to solve the reverse-time SDE (Song et al. 2021), which adds fresh
                noise at every step, instead of the ODE. The noise mends what a small or briefly
                trained denoiser got wrong at an earlier step; a drawing is still the same every
                time.
            solver: How it is solved; None for the noise process's own way.
            size: Width and height in pixels; None for the backbone's own.

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
        self.solver = solver
        self.size = None if size is None else (size[0], size[1])

    @property
    def settings(self) -> dict[str, Any]:
        """Plain values that say how images are drawn; without those that are left to the backbone.

        Results name them, so that what was added later stays out unless it is used.
        """
        found: dict[str, Any] = {
            "steps": self.steps,
            "guidance": self.guidance,
            "negative_prompt": self.negative_prompt,
            "stochastic": self.stochastic,
        }
        found |= {} if self.solver is None else {"solver": self.solver.value}
        return found | ({} if self.size is None else {"size": list(self.size)})

    @classmethod
    def of_settings(cls, settings: Mapping[str, Any]) -> "Sampler":
        """From what `settings` gave.

        Raises:
            TypeError: If one is unknown.
            ValueError: If one is out of range.
        """
        solver = settings.get("solver")
        kind = {} if solver is None else {"solver": SolverKind(solver)}
        return Sampler(**{**settings, **kind})

    def changed(self, **settings: Any) -> "Sampler":
        """The same sampler with other settings.

        Args:
            **settings: By the names of the constructor's arguments.

        Raises:
            ValueError: If one is out of range.
        """
        made = copy.copy(self)
        names = inspect.signature(Sampler.__init__).parameters
        own = {name: value for name, value in vars(self).items() if name in names}
        Sampler.__init__(made, **{**own, **settings})
        return made

    def check(self, backbone: Backbone) -> None:
        """Refuses more steps than the backbone's noise process has, and too long a prompt.

        Args:
            backbone: Whose process and tokenizers are used.

        Raises:
            UserError: If there are more, if the negative prompt is longer than it takes, if the
                backbone cannot draw in this size, or if its scheduler has settings that no solver
                takes.
        """
        most = backbone.process.steps
        if self.steps > most:
            raise UserError(
                f"Sampler.steps: {self.steps} are more than the {most} of the backbone's noise "
                "schedule"
            )
        try:
            self._solver(backbone)
        except (ImportError, ValueError, NotImplementedError) as error:
            raise UserError(
                f"the scheduler of {backbone.source} cannot be drawn with ({first_line(error)}); "
                "mend scheduler/scheduler_config.json, or install what it needs"
            ) from error
        self.latent_shape(backbone)
        check_words(self.negative_prompt, "Sampler.negative_prompt")
        try:
            backbone.tokenize([self.negative_prompt])
        except UserError as error:
            raise UserError(f"Sampler.negative_prompt: {error}") from error

    def _solver(self, backbone: Backbone) -> Solver:
        process = backbone.process_of(self.latent_shape(backbone))
        return process.solver(self.steps, self.stochastic, self.solver)

    def latent_shape(self, backbone: Backbone) -> tuple[int, int, int]:
        """(C, h, w) of the latents of its drawings; a UserError if the size is none for them."""
        return backbone.latent_shape if self.size is None else backbone.latent_shape_of(*self.size)

    def _negative(self, backbone: Backbone) -> TextStates | None:
        if backbone.embeds_guidance or self.guidance == 1:
            return None
        return backbone.encode_negative(self.negative_prompt)

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
            if backbone.is_split:
                # The processes that draw wait, in each step, for this one's part of the weights.
                self._latents(backbone, conditioning, [_STAND_IN], device, reference, weight)
            width, height = self.size or (backbone.resolution, backbone.resolution)
            return Drawings(torch.empty(0, 3, height, width, dtype=torch.uint8), [])
        latents = self._latents(backbone, conditioning, requests, device, reference, weight)
        with backbone.autoencoder(device) as autoencoder:
            pixels = autoencoder.decode(backbone.unscale_latents(latents))
        finite = bool(pixels.isfinite().all())
        return Drawings(to_uint8(pixels).cpu(), list(requests), finite)

    def _latents(
        self,
        backbone: Backbone,
        conditioning: Conditioning,
        requests: Sequence[DrawingRequest],
        device: torch.device,
        reference: PhotoFeatures | None,
        weight: float,
    ) -> Tensor:
        """What is decoded, `B C h w`; it calls the denoiser as often for any requests."""
        with backbone.folded():
            text = backbone.encode([request.prompt for request in requests])
            condition = conditioning.infer(text, reference, weight)
            return self._solved(backbone, condition, requests, device)

    def _solved(
        self,
        backbone: Backbone,
        condition: TextStates,
        requests: Sequence[DrawingRequest],
        device: torch.device,
    ) -> Tensor:
        """The latents that each request's noise becomes, `B C h w`."""
        negative, shape = self._negative(backbone), self.latent_shape(backbone)
        solver = self._solver(backbone)
        all_times = sent(solver.times, device)

        def noise(step: int) -> Tensor:
            drawn = [drawing_noise(request, shape, step) for request in requests]
            return sent(torch.stack(drawn), device)

        latents = solver.start(noise(0))
        for step, time in enumerate(solver.times, start=1):
            noisy, times = solver.scaled(latents, time), all_times[step - 1].expand(len(latents))
            prediction = backbone.guided(noisy, times, condition, negative, self.guidance)
            added = noise(step) if self.stochastic else None
            latents = solver.step(prediction, time, latents, added)
        return latents
