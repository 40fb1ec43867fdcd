"""How other tools draw as the run does: the same solver under their names."""

from dataclasses import dataclass
from typing import Any

from idgen.processes import NoiseProcess, RectifiedFlow, SolverKind
from idgen.sampling import Sampler


@dataclass(frozen=True)
class Recipe:
    """A sampler of idgen in the words of other tools.

    Attributes:
        name: For people.
        scheduler: A class of diffusers; None for the pipeline's own.
        settings: Over the configuration of the pipeline's own scheduler.
        webui: The sampler of A1111 and Forge.
        comfyui: The sampler of ComfyUI's KSampler.
        eta: DDIM's, 1 where it adds noise.
    """

    name: str
    scheduler: str | None
    settings: dict[str, Any]
    webui: str
    comfyui: str
    eta: float = 0.0

    @classmethod
    def of(cls, sampler: Sampler, process: NoiseProcess) -> "Recipe":
        """Of a sampler.

        Args:
            sampler: The run's.
            process: The backbone's.
        """
        if isinstance(process, RectifiedFlow):
            return cls("Euler", None, {}, "Euler", "euler")
        kind = sampler.solver or SolverKind.dpm
        # Latents are not within [-1, 1], to which some schedulers clip by default.
        unclipped = {"clip_sample": False}
        if kind is SolverKind.dpm:
            of_sde = sampler.stochastic
            told = {"algorithm_type": "sde-dpmsolver++" if of_sde else "dpmsolver++"}
            sde, comfy = (", SDE", "_sde") if of_sde else ("", "")
            webui = f"DPM++ 2M{' SDE' if of_sde else ''}"
            scheduler = "DPMSolverMultistepScheduler"
            return cls(f"DPM-Solver++{sde}", scheduler, told, webui, f"dpmpp_2m{comfy}")
        if kind is SolverKind.ddim:
            eta = float(sampler.stochastic)
            name = f"DDIM, eta {eta:g}"
            return cls(name, "DDIMScheduler", unclipped, name, "ddim", eta)
        if kind is SolverKind.euler:
            return cls("Euler", "EulerDiscreteScheduler", {}, "Euler", "euler")
        if kind is SolverKind.heun:
            return cls("Heun", "HeunDiscreteScheduler", unclipped, "Heun", "heun")
        return cls("UniPC", "UniPCMultistepScheduler", {}, "UniPC", "uni_pc")

    @property
    def code(self) -> str:
        """The settings as arguments of Python."""
        return ", ".join(f"{key}={value!r}" for key, value in self.settings.items())
