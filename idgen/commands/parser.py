"""A LightningCLI parser whose errors are one line, with the nearest right key."""

import difflib
import inspect
import re
from argparse import ArgumentTypeError
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser

from idgen.commands.configurable import configurable_parts, nearest_class
from idgen.commands.nulls import check_nulls
from idgen.errors import UserError

_UNKNOWN = (
    re.compile(r"Key ['\"](?P<key>[\w.+-]+)['\"] is not expected"),
    re.compile(r"[Uu]nrecognized arguments: --(?P<key>[\w.+-]+)"),
    re.compile(r"does not accept option ['\"](?P<key>[\w.+-]+)['\"]"),
    re.compile(r"Option ['\"](?P<key>[\w.+-]+)['\"] is not accepted"),
    re.compile(r"No action for key ['\"](?P<key>[\w.+-]+)['\"]"),
    re.compile(r"does not accept nested key ['\"](?P<key>[\w.+-]+)['\"]"),
)


class OneLineParser(LightningArgumentParser):
    """Raises a `UserError` where argparse would print its usage and exit."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """Takes what its base does; a key that is cut short is a misspelled one."""
        super().__init__(*args, **{"allow_abbrev": False} | options)

    def parse_args(self, args: Any = None, *others: Any, **options: Any) -> Any:
        """Parses as jsonargparse does, but takes `null` for a part's part as null.

        jsonargparse hands a nested value on as text, and Python's text for null is `None`, which
        would arrive as a word.

        Raises:
            UserError: If a key is null that cannot be.
        """
        if not self.exit_on_error:
            if args is not None:
                args = [f"{a[: -len('None')]}null" if a.endswith("=None") else a for a in args]
            return super().parse_args(args, *others, **options)
        config = super().parse_args(args, *others, **options)
        self._check_nulls(config)
        return config

    def _check_nulls(self, config: Any) -> None:
        command, parser, commands = config.get("subcommand"), self, self._subcommands_action
        if command is not None and commands is not None:
            parser, config = commands._name_parser_map[command], config[command]
        typed = (action for action in parser._actions if hasattr(action, "_typehint"))
        check_nulls(config, {action.dest: (action._typehint, action.default) for action in typed})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Turns a parsing error into one line.

        Raises:
            UserError: Always, unless the parser is one that jsonargparse tries a type with.
        """
        if not self.exit_on_error:
            super().error(message, ex)
        own = None if ex is None else _user_error(ex)
        if own is not None:
            raise own
        raise UserError(_shorten(message) + self._suggestion(message)) from ex

    def _suggestion(self, message: str) -> str:
        match = next((m for m in (p.search(message) for p in _UNKNOWN) if m), None)
        if match is None:
            path = nearest_class(_shorten(message))
            return "" if path is None else f"; did you mean {path!r}?"
        key = match["key"]
        known = sorted(set(self._known_keys()))
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
        if not near:
            last = difflib.get_close_matches(key.split(".")[-1], known, n=1, cutoff=0.6)
            near = last
        return f"; did you mean {near[0]!r}?" if near else ""

    def _known_keys(self) -> Iterable[str]:
        parsers: list[Any] = [self]
        while parsers:
            parser = parsers.pop()
            for action in parser._actions:
                if action.dest and action.dest != "help":
                    yield action.dest
                    yield action.dest.split(".")[-1]
                choices = getattr(action, "choices", None)
                if isinstance(choices, dict):
                    parsers += [c for c in choices.values() if hasattr(c, "_actions")]
        for part in configurable_parts():
            yield from (name for name in inspect.signature(part).parameters)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns what parts and libraries raise while they are built into one line.

    Raises:
        UserError: In place of any error about values.
    """
    try:
        yield
    except UserError:
        raise
    except (ValueError, TypeError, MisconfigurationException, ArgumentTypeError) as error:
        raise _user_error(error) or UserError(_shorten(str(error))) from error


def _user_error(error: BaseException) -> UserError | None:
    """The error of ours that another one was made from."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        cause = pending.pop()
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        if isinstance(cause, UserError):
            return cause
        pending += [cause.__cause__, cause.__context__]
        pending += [arg for arg in cause.args if isinstance(arg, BaseException)]
    return None


# jsonargparse's words about an optional part: that it is one, and that null would do as well.
_OF_A_UNION = re.compile(
    r"(Expected a path but \S+ either not accessible or invalid )?"
    r"Does not validate against any of the Union subtypes Subtypes: \[.*?\] Errors: "
)
# It takes what is no class path for the path of a config file.
_NO_FILE = re.compile(r"Expected a path but \S+ either not accessible or invalid (?=\S)")
_OR_NULL = re.compile(r" Expected a <class 'NoneType'>.*")


def _own_reason(message: str) -> str:
    """Of a refusal of an optional part, in one line, the part's own reason."""
    return _OR_NULL.sub("", _NO_FILE.sub("", _OF_A_UNION.sub("", message)))


def _shorten(message: str) -> str:
    lines = [line.strip(" -") for line in message.strip().splitlines() if line.strip(" -")]
    return _own_reason(" ".join(lines))[:600]
