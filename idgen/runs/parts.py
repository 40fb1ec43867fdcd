"""The classes that a config may name, and which of them a misspelled one means."""

import difflib
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, get_args, get_origin, get_type_hints

_NO_ATTRIBUTE = re.compile(r"module '(?P<module>[\w.]+)' has no attribute '(?P<name>\w+)'")
_NO_PATH = (
    re.compile(r"class_path '[\w.]*?(?P<name>\w+)': No module named"),
    re.compile(r"No module named '[\w.]+'\. Got value: [\w.]*?(?P<name>\w+)(?![\w.])"),
    re.compile(r"Expected a dot import path string: (?P<name>\w+)"),
)


def configurable_parts(roots: Iterable[Any]) -> list[type]:
    """The parts of ours that a config may hold, as far as they were imported.

    They are what a parser takes (the roots), what their constructors take, all kinds of it, and
    so on.
    """
    found: dict[type, None] = {}
    pending = [part for root in roots for part in _classes_in(root)]
    while pending:
        part = pending.pop()
        if part in found:
            continue
        found[part] = None
        pending += part.__subclasses__()
        hints = get_type_hints(inspect.getattr_static(part, "__init__"))
        hints.pop("return", None)
        pending += [inner for hint in hints.values() for inner in _classes_in(hint)]
    return list(found)


def _classes_in(annotation: Any) -> Iterator[type]:
    """The classes of ours in an annotation; of a callable, what it makes."""
    if inspect.isclass(annotation) and annotation.__module__.split(".")[0] == "idgen":
        yield annotation
    inner = get_args(annotation)
    for argument in inner[-1:] if get_origin(annotation) is Callable else inner:
        yield from _classes_in(argument)


def nearest_class(message: str, parts: Iterable[type]) -> str | None:
    """The class that an unknown one is most likely meant to be.

    Args:
        message: What jsonargparse says of the class path.
        parts: The classes that it may be.

    Returns:
        A class path; None if no class is alike, or the message is about something else.
    """
    known: dict[str, str] = {}
    # A module that was unloaded has left its classes behind; nobody can name them.
    for part in (part for part in parts if part.__module__ in sys.modules):
        known |= _classes_of(_public_module(part))
    if match := _NO_ATTRIBUTE.search(message):
        known |= _classes_of(match["module"])
    else:
        match = next((m for m in (p.search(message) for p in _NO_PATH) if m), None)
    if match is None:
        return None
    near = difflib.get_close_matches(match["name"], known, n=1, cutoff=0.75)
    return known[near[0]] if near else None


def _public_module(part: type) -> str:
    """The shortest module that has a class: a package often names what its modules hold.

    A class that a function made has no name in any; its module may hold others.
    """
    names = part.__module__.split(".")
    modules = [".".join(names[:count]) for count in range(1, len(names) + 1)]
    having = (m for m in modules if getattr(sys.modules[m], part.__name__, None) is part)
    return next(having, part.__module__)


def _classes_of(module: str) -> dict[str, str]:
    """The paths of the public classes of a module that was imported, by name."""
    members = inspect.getmembers(sys.modules.get(module), inspect.isclass)
    return {
        name: f"{module}.{name}"
        for name, kind in members
        if not name.startswith("_") and kind.__module__.startswith(module.split(".")[0])
    }
