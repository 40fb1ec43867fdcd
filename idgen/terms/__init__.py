"""The terms of a method's objective: L = sum_k l_k L_k, each a loss and what it needs."""

from idgen.terms.attention import AttentionInMask
from idgen.terms.decoupling import ImplicitExplicit, ImplicitText, TextExplicit
from idgen.terms.denoising import (
    BackgroundPreservation,
    Diffusion,
    PriorPreservation,
    SceneDiffusion,
    WeakDenoising,
)
from idgen.terms.exclusion import Exclusion
from idgen.terms.routing import LoadBalance, OrthogonalExperts
from idgen.terms.term import Term

__all__ = [
    "AttentionInMask",
    "BackgroundPreservation",
    "Diffusion",
    "Exclusion",
    "ImplicitExplicit",
    "ImplicitText",
    "LoadBalance",
    "OrthogonalExperts",
    "PriorPreservation",
    "SceneDiffusion",
    "Term",
    "TextExplicit",
    "WeakDenoising",
]
