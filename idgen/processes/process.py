"""What every noise process is, and how drawings are solved."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from torch import Tensor

from idgen.processes.solver_kind import SolverKind


class NoisedLatents(NamedTuple):
    """Latents at times of their noise process, and what a denoiser is to make of them.

    Attributes:
        noisy: x_t, `B C h w`.
        times: t, `B`, as the denoiser takes them.
        target: What it is to predict, `B C h w`.
        weight: Weights of the error over time, `B`, or None for 1.
        framing: Which part of which picture they are, `B 6`, where the denoiser is told; None for
            whole pictures.
    """

    noisy: Tensor
    times: Tensor
    target: Tensor
    weight: Tensor | None
    framing: Tensor | None = None


class Solver:
    """A scheduler of diffusers on its way from noise to latents.

    Attributes:
        times: The times that are visited, in order, as the denoiser takes them. They are on the
            CPU, wherever latents are: schedulers look them up, for which the host would wait.
        stochastic: Whether each step takes fresh noise.
    """

    def __init__(self, scheduler: Any, stochastic: bool = False, **settings: float) -> None:
        """Takes a scheduler whose times are set.

        Args:
            scheduler: One of diffusers.
            stochastic: Whether each of its steps takes noise.
            **settings: What else each step is told.
        """
        self._scheduler, self._settings = scheduler, settings
        self.times: Tensor = scheduler.timesteps
        self.stochastic = stochastic

    def start(self, noise: Tensor) -> Tensor:
        """Standard normal noise, `B C h w`, at the scale of the first time."""
        scaled: Tensor = noise * getattr(self._scheduler, "init_noise_sigma", 1.0)
        return scaled

    def scaled(self, latents: Tensor, time: Tensor) -> Tensor:
        """Latents at the scale that the denoiser takes them in, `B C h w`."""
        if not hasattr(self._scheduler, "scale_model_input"):
            return latents
        scaled: Tensor = self._scheduler.scale_model_input(latents, time)
        return scaled

    def noised(self, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """Clean latents as they are at a time on the way, for what is known of a picture.

        Args:
            clean: x_0, `B C h w`.
            noise: Standard normal, `B C h w`.
            time: One of `times`.
        """
        times = time.reshape(1).expand(len(clean))
        if hasattr(self._scheduler, "add_noise"):
            added: Tensor = self._scheduler.add_noise(clean, noise, times)
            return added
        scaled: Tensor = self._scheduler.scale_noise(clean, times, noise)
        return scaled

    def step(
        self, prediction: Tensor, time: Tensor, latents: Tensor, noise: Tensor | None = None
    ) -> Tensor:
        """The latents at the next time.

        Args:
            prediction: The denoiser's, `B C h w`.
            time: One of `times`.
            latents: At that time, `B C h w`.
            noise: Standard normal, `B C h w`; for stochastic solvers alone.
        """
        added = {"variance_noise": noise} if self.stochastic else {}
        told = {**self._settings, **added}
        moved: Tensor = self._scheduler.step(prediction, time, latents, **told).prev_sample
        return moved


class NoiseProcess(ABC):
    """How a family takes latents to noise and back."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """The most steps that drawing can take."""

    @abstractmethod
    def noised(self, clean: Tensor) -> NoisedLatents:
        """Draws noise and times for a batch.

        Args:
            clean: x_0, scaled latents, `B C h w`.
        """

    @abstractmethod
    def solver(
        self, steps: int, stochastic: bool = False, kind: SolverKind | None = None
    ) -> Solver:
        """Makes what drawings are solved with, on whatever device their latents are.

        Args:
            steps: How many, 1 to `steps`.
            stochastic: Whether to solve the reverse-time SDE, which adds noise at every step.
            kind: How; None for the process's own way.

        Raises:
            UserError: If the process cannot do that.
        """
