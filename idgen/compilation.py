"""Whether the denoiser is compiled for training, and how: `torch.compile`."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from idgen.errors import UserError, first_line

When = Literal["never", "auto", "always"]
Mode = Literal["default", "reduce-overhead"]

# Steps from which `auto` compiles the repeated blocks, and from which the whole denoiser: a rule
# of thumb, since compiling takes a quarter of a minute and a minute on a CPU of our own.
_STEPS_FOR_BLOCKS = 500
_STEPS_FOR_ALL = 2000
# Of one layer: in training and out of it, with the tuning and without, at each width.
_KINDS_OF_CALLS = 64


@dataclass(frozen=True)
class CompilationPlan:
    """What comes of it in a run.

    Attributes:
        compiles: Whether the denoiser is compiled.
        whole: Whether all of it is, and not its repeated blocks alone.
        mode: Of `torch.compile`.
        backend: Of `torch.compile`.
        says: The line that tells of it; None where nothing was asked for.
    """

    compiles: bool
    whole: bool
    mode: Mode
    backend: str
    says: str | None

    @property
    def by_graphs(self) -> bool:
        """Whether steps are replayed as CUDA graphs."""
        return self.compiles and self.mode == "reduce-overhead"

    def apply(self, denoiser: nn.Module) -> None:
        """Compiles a denoiser in place, so that its weights keep their names.

        Nothing happens before its first call.

        Args:
            denoiser: Of diffusers, or any module.
        """
        if not self.compiles:
            return
        options: dict[str, Any] = {"backend": self.backend, "dynamic": False}
        if self.mode != "default":
            options["mode"] = self.mode
        config: Any = torch._dynamo.config
        config.recompile_limit = max(config.recompile_limit, _KINDS_OF_CALLS)
        if self.whole or not has_repeated_blocks(denoiser):
            denoiser.compile(**options)
        else:
            blocks: Any = denoiser
            blocks.compile_repeated_blocks(**options)


class Compilation:
    """The setting `compile` of a run."""

    def __init__(
        self,
        when: When = "never",
        mode: Mode = "default",
        whole: bool | None = None,
        backend: str = "inductor",
    ) -> None:
        """Sets when and how.

        Args:
            when: `auto` compiles on a CUDA GPU where the run is long enough for it to pay back;
                `always` compiles or refuses to run.
            mode: `reduce-overhead` replays a step as CUDA graphs; on a CUDA GPU alone.
            whole: Whether the whole denoiser is compiled, or its repeated blocks alone, which takes
                a fraction of the time; null for what the run's length suggests.
            backend: Of `torch.compile`.

        Raises:
            ValueError: If torch has no such backend.
        """
        self.when, self.mode, self.whole, self.backend = when, mode, whole, backend
        if when != "never":
            known = torch._dynamo.list_backends(exclude_tags=())
            if backend not in known:
                raise ValueError(f"backend {backend!r} is none of torch's: {', '.join(known)}")

    def check(self, device: torch.device, gathered: int, split: bool = False) -> None:
        """Refuses what the device cannot do; nothing is compiled yet.

        Args:
            device: Of the training.
            gathered: Batches a step of the optimizer.
            split: Whether the denoiser's weights are split between processes.

        Raises:
            UserError: If it was asked for and cannot be.
        """
        if self.when == "always" and split:
            raise UserError(
                "--compile.when: a denoiser whose weights are split between processes is not "
                "compiled; set it to never, or --trainer.strategy to ddp"
            )
        if self.when == "never" or self.mode == "default":
            return
        if self.when == "always" and device.type != "cuda":
            raise UserError(
                f"--compile.mode: {self.mode} needs a CUDA GPU, and the run is on the "
                f"{device.type}; take default"
            )
        if gathered > 1:
            raise UserError(
                f"--compile.mode: {self.mode} keeps a step's gradients where the next one's go, "
                f"and trainer.accumulate_grad_batches is {gathered}; take default, or set that to 1"
            )

    def plan(self, device: torch.device, steps: int | None, split: bool = False) -> CompilationPlan:
        """Decides by the device and the run's length alone, so that a resumed run decides alike.

        Args:
            device: Of the training.
            steps: Of the whole run; None where it is not known.
            split: Whether the denoiser's weights are split between processes.

        Raises:
            UserError: If it is to be compiled always, and nothing can be compiled here.
        """
        if self.when == "never":
            return self._left_out(None)
        why = "its weights are split" if split else _not_worth_it(device, steps)
        if self.when == "auto" and why:
            return self._left_out(f"compile: auto leaves the denoiser as it is: {why}")
        if (error := _failure(self.backend, device)) is not None:
            if self.when == "always":
                raise UserError(
                    f"--compile.when: nothing can be compiled here ({error}); install a compiler "
                    "(g++, and Triton for a GPU), or set it to never"
                )
            says = f"compile: auto leaves the denoiser as it is: nothing can be compiled ({error})"
            return self._left_out(says)
        whole = bool(steps and steps >= _STEPS_FOR_ALL) if self.whole is None else self.whole
        what = "denoiser" if whole else "denoiser's repeated blocks"
        graphs = ", replayed as CUDA graphs" if self.mode == "reduce-overhead" else ""
        says = f"compile: the {what} are compiled in the first steps{graphs}"
        if whole:
            says = says.replace(" are ", " is ")
        if self.when == "auto":
            says += f"; {steps} steps are enough for it"
        return CompilationPlan(True, whole, self.mode, self.backend, says)

    def _left_out(self, says: str | None) -> CompilationPlan:
        return CompilationPlan(False, False, self.mode, self.backend, says)


def has_repeated_blocks(denoiser: nn.Module) -> bool:
    """Whether diffusers knows which of its blocks are alike."""
    return bool(getattr(denoiser, "_repeated_blocks", None))


def _not_worth_it(device: torch.device, steps: int | None) -> str:
    """Why `auto` does not compile; empty where it does."""
    if device.type != "cuda":
        return f"on the {device.type} it seldom pays back; --compile.when always does it"
    if steps is None:
        return "how long the run is is not known; set trainer.max_steps"
    if steps < _STEPS_FOR_BLOCKS:
        return f"{steps} steps are below {_STEPS_FOR_BLOCKS}"
    return ""


def _failure(backend: str, device: torch.device) -> str | None:
    """What goes wrong where a function of one line is compiled; None if nothing does."""

    def doubled(x: torch.Tensor) -> torch.Tensor:
        return x * 2 + 1

    try:
        with torch.no_grad():
            torch.compile(doubled, backend=backend)(torch.ones(8, device=device))
    except Exception as error:  # compilers fail in many ways
        return first_line(error, 120)
    return None
