"""How a parser builds parts: null is refused where it is no value, and errors know their part."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

from jsonargparse import ArgumentParser

_MARK = "_idgen_part"
IS_NULL = "is null; give it a value, or leave it out"


@dataclass(frozen=True)
class Part:
    """What was being built when an error was raised: a class, and what its constructor got."""

    kind: type
    values: Mapping[str, Any]


def note_parts(parser: ArgumentParser) -> None:
    """Makes a parser build every class by `build`, but for those it has another way for."""
    parser.add_instantiator(build, object, subclasses=True)


def build(kind: type, /, *others: Any, **values: Any) -> Any:
    """Builds a part; an error keeps in mind which one it was, the innermost.

    Args:
        kind: The class.
        *others: What whoever called for the part gives it.
        **values: What the config says.

    Raises:
        ValueError: If a value is null and cannot be; jsonargparse looks at the outermost alone.
    """
    try:
        for null in nulls_of(kind, values):
            raise ValueError(f"{null} {IS_NULL}")
        return kind(*others, **values)
    except Exception as error:
        if part_of(error) is None:
            mark(error, Part(kind, values))
        raise


def mark(error: BaseException, part: Part | None) -> None:
    """Notes in an error which part it is of."""
    setattr(error, _MARK, part)


def part_of(error: BaseException) -> Part | None:
    """Which part an error is of, None if it was raised elsewhere."""
    return getattr(error, _MARK, None)


def nulls_of(kind: type, values: Mapping[str, Any]) -> list[str]:
    """Which of the values for a class's constructor, by parameter, are null and cannot be."""
    nulls = [name for name, value in values.items() if value is None]
    taken = inspect.signature(kind).parameters if nulls else {}
    hints = _hints(kind) if nulls else {}
    return [
        name
        for name in nulls
        if name in taken and taken[name].default is not None and not _takes_null(hints.get(name))
    ]


def _hints(kind: type) -> dict[str, Any]:
    try:
        return get_type_hints(inspect.getattr_static(kind, "__init__"))
    except Exception:  # annotations that their module alone can read fail in many ways
        return {}


def _takes_null(annotation: Any) -> bool:
    return annotation in (None, Any, type(None)) or type(None) in get_args(annotation)
