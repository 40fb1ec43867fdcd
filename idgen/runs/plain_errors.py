"""What jsonargparse says of a value, in plain words and with its whole key."""

import dataclasses
import difflib
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, get_args, get_type_hints

_KEY = re.compile(r'Parser key "(?P<key>[\w.+-]+)": ')
# Where a text or an object is taken, it says of the text that it is none.
_CLASS = re.compile(
    r"(Expected a <class 'str'> )?Problem with given class_path '(?P<path>[\w.]+)': "
)
_LACKING = re.compile(r"the following arguments are required: (?P<name>\w+)")
_UNKNOWN = re.compile(r"(Option|Key) '(?P<name>[\w.]+)' is not (accepted|expected)")
_NO_OBJECT = re.compile(
    r"(Expected a <class 'str'> |Expected a path but .*? either not accessible or invalid )?"
    r"(Not a valid subclass of|Expected a dot import path string: (?P<value>.*))"
)
_NO_PLAIN = re.compile(
    r"Expected a <class '(?P<kind>int|float|bool)'>(\. Got value: (?P<value>.*))?"
)
_PLAIN = {"int": "a whole number", "float": "a number", "bool": "true or false"}


@dataclass(frozen=True)
class PlainError:
    """An error about one value.

    Attributes:
        key: The value's, such as `data.preparation.init_args.buckets`.
        text: What is wrong and the mend, to stand behind the key.
    """

    key: str
    text: str

    def __str__(self) -> str:
        """For the terminal."""
        return f"--{self.key}{self.text}"


def said_plainly(line: str, hint_of: Callable[[str], Any]) -> PlainError | None:
    """An error of jsonargparse in plain words; None for one that is not known here.

    Args:
        line: What it says, in one line.
        hint_of: The type of a key of the parser's own; None where that is not known.
    """
    key, rest, kind, hint = "", line, None, None
    while found := _KEY.match(rest):
        joint = "" if not key else "." if _is_plain(kind) else ".init_args."
        hint = hint_of(found["key"]) if kind is None else _hints(kind).get(found["key"])
        key, rest, kind = f"{key}{joint}{found['key']}", rest[found.end() :], None
        if inside := _CLASS.match(rest):
            kind, rest = _named(inside["path"]), rest[inside.end() :]
            if kind is None:
                return None
    if not key:
        return None
    return _of_keys(key, kind, rest) if kind is not None else _of_value(key, hint, rest)


def _of_keys(key: str, kind: type, rest: str) -> PlainError | None:
    """Of the keys of an object: one is missing, or there is none such."""
    joint = "." if _is_plain(kind) else ".init_args."
    if lacking := _LACKING.match(rest):
        return PlainError(f"{key}{joint}{lacking['name']}", " is missing; give it too")
    if unknown := _UNKNOWN.match(rest):
        name, known = unknown["name"], list(inspect.signature(kind).parameters)
        near = difflib.get_close_matches(name, known, n=1)
        mend = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
        return PlainError(f"{key}{joint}{name}", f": Option {name!r} is not accepted; {mend}")
    return None


def _of_value(key: str, hint: Any, rest: str) -> PlainError | None:
    """Of a value: it is no object, or no number."""
    kinds = list(_kinds(hint))
    if (found := _NO_OBJECT.match(rest)) and (made := next(filter(_is_plain, kinds), None)):
        last, fields = key.rpartition(".")[2], list(inspect.signature(made).parameters)
        such = " and ".join(f"{last}.{field}" for field in fields[:2])
        needed = [f for f in inspect.signature(made).parameters.values() if f.default is f.empty]
        others = "" if needed else " ({} for the usual ones)"
        others += ", or to be text" if str in kinds else ""
        others += ", or to be null" if type(None) in kinds else ""
        given = "" if found["value"] is None else f", not {found['value']}"
        return PlainError(key, f" has to hold keys of its own, such as {such}{others}{given}")
    if found := _NO_PLAIN.fullmatch(rest):
        null = ", or null" if type(None) in kinds else ""
        given = "" if found["value"] is None else f", not {found['value']}"
        return PlainError(key, f" has to be {_PLAIN[found['kind']]}{null}{given}")
    return None


def _is_plain(kind: Any) -> bool:
    """Whether a class is a mapping of its fields in a config, without class_path and init_args."""
    return inspect.isclass(kind) and dataclasses.is_dataclass(kind)


def _named(path: str) -> type | None:
    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module), name, None)
    except (ImportError, ValueError):
        return None
    return found if inspect.isclass(found) else None


def _hints(kind: type) -> dict[str, Any]:
    try:
        return get_type_hints(inspect.getattr_static(kind, "__init__"))
    except (AttributeError, NameError, TypeError):  # of other libraries
        return {}


def _kinds(hint: Any) -> Iterator[Any]:
    """The types in a union; the type itself if it is none."""
    yield from get_args(hint) or (hint,)
