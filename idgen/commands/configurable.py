"""The classes that a config may name, and which of them a misspelled one means."""

import difflib
import inspect
import re
import sys

_NO_ATTRIBUTE = re.compile(r"module '(?P<module>[\w.]+)' has no attribute '(?P<name>\w+)'")
_NO_PATH = (
    re.compile(r"class_path '[\w.]*?(?P<name>\w+)': No module named"),
    re.compile(r"No module named '[\w.]+'\. Got value: [\w.]*?(?P<name>\w+)(?![\w.])"),
    re.compile(r"Expected a dot import path string: (?P<name>\w+)"),
)


def configurable_parts() -> list[type]:
    """The parts of ours that configs name."""
    from idgen.backbones import StableDiffusionBackbone
    from idgen.data.class_images import ClassImages
    from idgen.metrics.encoders import ClipScorer, DinoScorer
    from idgen.models.conditioning import DecoupledFusion
    from idgen.models.encoders import ImageEncoder
    from idgen.models.tuning import CombinedTuning, LayerTuning, LoraTuning, TokenTuning
    from idgen.prepare import (
        DiffusersInpainter,
        GrabCutSegmenter,
        MaskFiles,
        OpenCVInpainter,
        SamSegmenter,
    )
    from idgen.sampling import Sampler

    return [
        *(StableDiffusionBackbone, DecoupledFusion, ImageEncoder, ClassImages, Sampler),
        *(LoraTuning, TokenTuning, LayerTuning, CombinedTuning),
        *(ClipScorer, DinoScorer, SamSegmenter, GrabCutSegmenter, MaskFiles),
        *(OpenCVInpainter, DiffusersInpainter),
    ]


def nearest_class(message: str) -> str | None:
    """The class that an unknown one is most likely meant to be.

    Args:
        message: What jsonargparse says of the class path.

    Returns:
        A class path; None if no class is alike, or the message is about something else.
    """
    known: dict[str, str] = {}
    for part in configurable_parts():
        known |= _classes(_public_module(part))
    if match := _NO_ATTRIBUTE.search(message):
        known |= _classes(match["module"])
    else:
        match = next((m for m in (p.search(message) for p in _NO_PATH) if m), None)
    if match is None:
        return None
    near = difflib.get_close_matches(match["name"], known, n=1, cutoff=0.7)
    return known[near[0]] if near else None


def _public_module(part: type) -> str:
    """The shortest module that has a class: a package often names what its modules hold."""
    names = part.__module__.split(".")
    modules = [".".join(names[:count]) for count in range(1, len(names) + 1)]
    return next(m for m in modules if getattr(sys.modules[m], part.__name__, None) is part)


def _classes(module: str) -> dict[str, str]:
    """The paths of the public classes of a module that was imported, by name."""
    members = inspect.getmembers(sys.modules.get(module), inspect.isclass)
    return {
        name: f"{module}.{name}"
        for name, kind in members
        if not name.startswith("_") and kind.__module__.startswith(module.split(".")[0])
    }
