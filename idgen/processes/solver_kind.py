"""The ways of going from noise to latents that can be asked for by name."""

from enum import Enum


class SolverKind(Enum):
    """How the equation of a noise process is solved.

    `dpm` is DPM-Solver++ of the second order (Lu et al. 2022), `ddim` is DDIM (Song et al. 2020),
    `euler` and `heun` are those of Karras et al. 2022, `unipc` is UniPC (Zhao et al. 2023).
    """

    dpm = "dpm"
    ddim = "ddim"
    euler = "euler"
    heun = "heun"
    unipc = "unipc"
