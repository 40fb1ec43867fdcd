"""OpenCV, imported once something of it is used: to import it takes a third of a second.

A run whose photos are prepared uses nothing of it. Take it as ``from idgen import opencv as cv2``.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith("__"):  # what looks through modules asks for those, such as `__path__`
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import cv2

    return getattr(cv2, name)
