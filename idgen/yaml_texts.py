"""YAML that users write: nothing in it is dropped in silence, and nothing in it is without end."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from idgen.errors import UserError, first_line
from idgen.texts import read_text

_MOST_UNFOLDED = 100_000
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE = "tag:yaml.org,2002:merge"


def read_yaml(path: Path, parameter: str = "") -> Any:
    """What a YAML file says.

    Args:
        path: The file, UTF-8.
        parameter: What named it, for the error.

    Raises:
        UserError: If it cannot be read, or where `check_yaml` raises one.
    """
    return load_yaml(read_text(path, parameter), f"{parameter}: {path}" if parameter else str(path))


def load_yaml(text: str, name: str) -> Any:
    """What a YAML text says; takes and raises what `check_yaml` does."""
    check_yaml(text, name)
    try:
        return yaml.load(text, Loader=_Loader)  # a safe one
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{name} is no YAML ({first_line(error, 120)}); mend it") from error


def own_yaml(text: str) -> Any:
    """What a YAML text says that idgen wrote itself, and that needs no check.

    It takes libyaml where that is there: Python's own parser is ten times as slow.

    Raises:
        yaml.YAMLError: If it is damaged.
    """
    return yaml.load(text, Loader=_Loader)  # a safe one


def check_yaml(text: str, name: str) -> None:
    """Refuses a YAML text that a parser would take for something else than is written.

    Args:
        text: The text.
        name: What it is called in errors, such as the file's path.

    Raises:
        UserError: If it is no YAML, has a key twice in one place, or has an alias that holds itself
            or unfolds to more than can be meant.
    """
    try:
        root = yaml.compose(text, Loader=_Loader)
        if root is not None:
            _check_size(root, name)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = "" if mark is None else f", line {mark.line + 1}"
        reason = error.problem or error.context or "it cannot be parsed"
        raise UserError(f"{name}{line}: it is no YAML ({reason})") from error
    except yaml.YAMLError as error:
        raise UserError(f"{name}: it is no YAML ({first_line(error, 120)})") from error
    except RecursionError as error:
        raise UserError(f"{name}: its values lie too deep in each other") from error


def _check_size(root: yaml.Node, name: str) -> None:
    sizes: dict[int, int] = {}
    unfolded = _unfolded(root, name, sizes, set())
    if unfolded > len(sizes) + _MOST_UNFOLDED:
        raise UserError(
            f"{name}: its aliases unfold to {unfolded:.3g} values; write out what is meant"
        )


def _unfolded(node: yaml.Node, name: str, sizes: dict[int, int], around: set[int]) -> int:
    """How many values a node holds once its aliases are unfolded; keys are checked on the way."""
    key = id(node)
    if key in around:
        raise UserError(
            f"{name}, line {node.start_mark.line + 1}: what begins here holds itself by an alias "
            "(*); take that out"
        )
    if key not in sizes:
        if isinstance(node, yaml.MappingNode):
            _check_keys(node, name)
        around.add(key)
        sizes[key] = 1 + sum(_unfolded(inner, name, sizes, around) for inner in _inside(node))
        around.remove(key)
    return sizes[key]


def _inside(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _check_keys(node: yaml.MappingNode, name: str) -> None:
    lines: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        # Merges (<<) may stand there several times: each is taken.
        if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
            continue
        line, said = key.start_mark.line + 1, (key.tag, key.value)
        if said in lines:
            earlier = "twice" if lines[said] == line else f"already, in line {lines[said]}"
            raise UserError(
                f"{name}, line {line}: the key {key.value!r} is there {earlier}; keep one of them"
            )
        lines[said] = line
