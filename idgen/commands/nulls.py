"""Nulls where a value is needed, which jsonargparse takes for values that were not given."""

import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, get_args, get_type_hints

from jsonargparse import Namespace

from idgen.errors import UserError


def check_nulls(config: Namespace, types: Mapping[str, tuple[Any, Any]]) -> None:
    """Refuses null for what is no optional value.

    Args:
        config: Parsed, before anything is built.
        types: Annotation and default of each key of a parser.

    Raises:
        UserError: If a key is null that cannot be, its own or of the parts that it names.
    """
    for key, (annotation, default) in types.items():
        # What has no default of its own is null where it was not given.
        if key not in config or (config[key] is None and default is None):
            continue
        for null in _nulls(config[key], annotation, key):
            raise UserError(f"--{null} is null; give it a value, or leave it out")


def _nulls(value: Any, annotation: Any, key: str) -> Iterator[str]:
    if value is None:
        if not _takes_null(annotation):
            yield key
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _nulls(entry, Any, f"{key}[{index}]")
    elif isinstance(value, Namespace):
        path = value.get("class_path")
        part = annotation if path is None else _imported(path)
        given = value if path is None else value.get("init_args", {})
        plain = path is None or dataclasses.is_dataclass(part)
        for name, hint in _hints(part).items():
            if name in given:
                own = f"{key}.{name}" if plain else f"{key}.init_args.{name}"
                yield from _nulls(given[name], hint, own)


def _takes_null(annotation: Any) -> bool:
    return annotation in (Any, None, inspect.Parameter.empty) or type(None) in get_args(annotation)


def _hints(annotation: Any) -> dict[str, Any]:
    """Annotations of what a class of ours takes; others' may not be what they say."""
    for part in (annotation, *get_args(annotation)):
        ours = inspect.isclass(part) and part.__module__.split(".")[0] == "idgen"
        if ours:
            hints = get_type_hints(part if dataclasses.is_dataclass(part) else part.__init__)
            return {name: hint for name, hint in hints.items() if name != "return"}
    return {}


def _imported(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)
