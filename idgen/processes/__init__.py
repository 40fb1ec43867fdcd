"""Noise processes: each noises latents, gives target and weights, and makes its solver."""

from idgen.processes.background_noise import FadingBackground
from idgen.processes.process import NoisedLatents, NoiseProcess, Solver
from idgen.processes.rectified_flow import RectifiedFlow
from idgen.processes.solver_kind import SolverKind
from idgen.processes.variance_preserving import Prediction, VariancePreserving

__all__ = [
    "FadingBackground",
    "NoiseProcess",
    "NoisedLatents",
    "Prediction",
    "RectifiedFlow",
    "Solver",
    "SolverKind",
    "VariancePreserving",
]
