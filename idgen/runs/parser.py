"""A LightningCLI parser whose errors are one line, with the nearest right key."""

import difflib
import inspect
import re
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import UnionType
from typing import Any, NoReturn, Union, get_args, get_origin

from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser

from idgen.errors import UserError
from idgen.runs.building import mark, part_of
from idgen.runs.keys import with_key
from idgen.runs.parts import configurable_parts, nearest_class
from idgen.runs.plain_errors import said_plainly
from idgen.runs.reading import (
    check_config,
    check_options,
    checked_files,
    options_with_values,
)

_UNKNOWN = (
    re.compile(r"Key ['\"](?P<key>[\w.+-]+)['\"] is not expected"),
    re.compile(r"[Uu]nrecognized arguments: --(?P<key>[\w.+-]+)"),
    re.compile(r"does not accept option ['\"](?P<key>[\w.+-]+)['\"]"),
    re.compile(r"Option ['\"](?P<key>[\w.+-]+)['\"] is not accepted"),
    re.compile(r"No action for key ['\"](?P<key>[\w.+-]+)['\"]"),
    re.compile(r"does not accept nested key ['\"](?P<key>[\w.+-]+)['\"]"),
)


_OF_KEY = re.compile(r'Parser key "(?P<key>[\w.+-]+)"')


class OneLineParser(LightningArgumentParser):
    """Raises a `UserError` where argparse would print its usage and exit.

    Attributes:
        roots: The classes that it takes; one that is taken as an argument's type is to be added.
        commands: The parsers of its subcommands, whose keys may be meant as well.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        """Takes what its base does; a key that is cut short is a misspelled one."""
        self.roots: list[Any] = []
        self.commands: list[OneLineParser] = []
        self._file = "--config"
        self._keys_of: dict[str, set[str]] = {}
        self._options: set[str] = set()
        super().__init__(*args, **{"allow_abbrev": False} | options)

    def add_class_arguments(self, class_type: type, *args: Any, **options: Any) -> list[str]:
        """Notes the class, and takes what its base does."""
        self.roots.append(class_type)
        added: list[str] = super().add_class_arguments(class_type, *args, **options)
        for action in self._actions:
            if hasattr(action, "_typehint"):
                action._typehint = _whole_numbers_first(action._typehint)
        return added

    def parse_args(self, args: Any = None, *others: Any, **options: Any) -> Any:
        """Parses as jsonargparse does, but takes `null` for a part's part as null.

        jsonargparse hands a nested value on as text to a parser that it only tries, and Python's
        text for null is `None`, which would arrive as a word.
        """
        if not self.exit_on_error:
            if args is not None:
                args = [f"{a[: -len('None')]}null" if a.endswith("=None") else a for a in args]
            return super().parse_args(args, *others, **options)
        for parser in (self, *self.commands):
            check_options(args or (), parser.sections())
        self._options = {option.lstrip("-") for option, _ in options_with_values(args or ())}
        with checked_files():
            return super().parse_args(args, *others, **options)

    def parse_path(self, path: Any, *others: Any, **options: Any) -> Any:
        """Parses a config file, whose name its errors give."""
        before, self._file = self._file, str(path)
        try:
            return super().parse_path(path, *others, **options)
        finally:
            self._file = before

    def parse_string(self, content: str, *others: Any, **options: Any) -> Any:
        """Parses a config; refuses one that jsonargparse would drop parts of."""
        if self.exit_on_error:
            top = {key.split(".")[0] for key in vars(self.get_defaults())}
            config = check_config(content, self._file, top, self.sections())
            self._keys_of[self._file] = set(_keys_in(config))
        return super().parse_string(content, *others, **options)

    def sections(self) -> dict[str, str]:
        """The keys that have keys of their own, each with one of these as an example."""
        found: dict[str, str] = {}
        for key in self.get_defaults().keys(branches=True):
            section, _, last = key.rpartition(".")
            if section:
                found.setdefault(section, last)
        # A class may also be given by its name alone.
        return {key: last for key, last in found.items() if last != "class_path"}

    def print_help(self, file: Any = None) -> None:
        """Prints the help; argparse would pass over a full disk."""
        print(self.format_help(), end="", file=file)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises a `UserError` of one line, but in a parser that jsonargparse tries a type with."""
        if not self.exit_on_error:
            super().error(message, ex)
        own = next((c for c in _causes(ex) if isinstance(c, UserError)), None) if ex else None
        if own is not None:
            raise own
        if (plain := said_plainly(_shorten(message), self._hint_of)) is not None:
            raise UserError(f"{self._file_of(plain.key)}{plain}") from ex
        raise UserError(
            self._place(message) + _shorten(message) + self._suggestion(message)
        ) from ex

    def _hint_of(self, key: str) -> Any:
        """The type of a key at the top of this parser."""
        for parser in (self, *self.commands):
            for action in parser._actions:
                if action.dest == key:
                    return getattr(action, "_typehint", None)
        return None

    def _file_of(self, key: str) -> str:
        """The config file that has a key, where one alone has it and no option gives it."""
        plain = _plain(key)
        if any(_plain(option).startswith(plain) for option in self._options):
            return ""
        keys_of = {f: k for parser in (self, *self.commands) for f, k in parser._keys_of.items()}
        found = [f for f, keys in keys_of.items() if f".{plain}" in set(map(_plain, keys))]
        return f"{found[0]}: " if len(found) == 1 else ""

    def _place(self, message: str) -> str:
        """The config file that has the key which an error is about, where one alone has it."""
        match = next((m for m in (p.search(message) for p in (*_UNKNOWN, _OF_KEY)) if m), None)
        if match is None or any(option.startswith(match["key"]) for option in self._options):
            return ""
        keys_of = {f: k for parser in (self, *self.commands) for f, k in parser._keys_of.items()}
        inside = f".{match['key']}"
        found = [file for file, keys in keys_of.items() if any(k.endswith(inside) for k in keys)]
        return f"{found[0]}: " if len(found) == 1 else ""

    def _suggestion(self, message: str) -> str:
        match = next((m for m in (p.search(message) for p in _UNKNOWN) if m), None)
        if match is None:
            path = nearest_class(_shorten(message), configurable_parts(self._all_roots()))
            return "" if path is None else f"; did you mean {path!r}?"
        key = match["key"]
        known = sorted(set(self._known_keys()))
        near = difflib.get_close_matches(key, known, n=1) or difflib.get_close_matches(
            key.split(".")[-1], known, n=1
        )
        return f"; did you mean {near[0]!r}?" if near else ""

    def _all_roots(self) -> list[Any]:
        return [*self.roots, *(root for parser in self.commands for root in parser.roots)]

    def _known_keys(self) -> Iterable[str]:
        for parser in (self, *self.commands):
            for key in parser.get_defaults().keys(branches=True):
                yield key
                yield key.split(".")[-1]
        for part in configurable_parts(self._all_roots()):
            yield from inspect.signature(part).parameters


def _whole_numbers_first(hint: Any) -> Any:
    """A union of types in which int stands before float, so that 1 is read as 1, and not as 1.0.

    For Lightning's limits these are one batch and all of them. It writes int first, but `typing`
    may hand it a union that another library made before in the other order.
    """
    kinds = get_args(hint)
    if get_origin(hint) not in (Union, UnionType) or not {int, float} <= set(kinds):
        return hint
    if kinds.index(int) < kinds.index(float):
        return hint
    return Union[tuple(sorted(kinds, key=lambda kind: kind is not int))]  # noqa: UP007


def _plain(key: str) -> str:
    """A key as it may be written too: without `init_args`."""
    return key.replace(".init_args", "")


def _keys_in(config: Any, key: str = "") -> Iterator[str]:
    """All keys of a config with those above them, each with a dot in front."""
    if isinstance(config, dict):
        for name, inside in config.items():
            yield f"{key}.{name}"
            yield from _keys_in(inside, f"{key}.{name}")
    elif isinstance(config, list):
        for inside in config:
            yield from _keys_in(inside, key)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns what parts and libraries raise about values into a `UserError` of one line."""
    try:
        yield
    except UserError:
        raise
    except (ValueError, TypeError, MisconfigurationException, ArgumentTypeError) as error:
        raise _mended(error) from error


@contextmanager
def keys_in_errors(config: Callable[[], Namespace | None]) -> Iterator[None]:
    """Puts the command line's key in front of each `UserError` that names a parameter.

    Args:
        config: Returns what was parsed, once there is something.
    """
    try:
        yield
    except UserError as error:
        named = with_key(error, config())
        if named is error:
            raise
        raise named from error


def _mended(error: BaseException) -> UserError:
    """One line of an error: what a part of ours said, however libraries have wrapped it."""
    ours = next((cause for cause in _causes(error) if isinstance(cause, UserError)), None)
    if ours is not None:
        return ours
    said = next((cause for cause in _causes(error) if part_of(cause) is not None), error)
    line = UserError(_shorten(str(said)))
    mark(line, part_of(said))
    return line


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that it was made from."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        cause = pending.pop()
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        pending += [cause.__cause__, cause.__context__]
        pending += [arg for arg in cause.args if isinstance(arg, BaseException)]


# jsonargparse's words about an optional part: that it is one, and that null would do as well.
_OF_A_UNION = re.compile(
    r"(Expected a path but (\S+|\{.*?\}) either not accessible or invalid )?"
    r"Does not validate against any of the Union subtypes Subtypes: \[.*?\] Errors: "
)
# It takes what is no class path for the path of a config file.
_NO_FILE = re.compile(r"Expected a path but (\S+|\{.*?\}) either not accessible or invalid (?=\S)")
_OR_NULL = re.compile(r" Expected a <class 'NoneType'>.*")


def _shorten(message: str) -> str:
    """In one line; of a refusal of an optional part, the part's own reason."""
    line = " ".join(line.strip(" -") for line in message.splitlines() if line.strip(" -"))
    return _OR_NULL.sub("", _NO_FILE.sub("", _OF_A_UNION.sub("", line)))[:600]
