"""From the parameter that an error names to the key that set it on the command line."""

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jsonargparse import Namespace

from idgen.errors import UserError
from idgen.runs.building import Part, part_of

# `preparation.views ...`, `LoraTuning.rank: ...` or `optimizer: ...` at the start of an error.
_NAMED = re.compile(r"(?P<name>[A-Za-z_]\w*(?:\.\w+)+)(?=[:\s])|(?P<alone>[A-Za-z_]\w*)(?=:)")
_WORD = re.compile(r"\w+")
_PLAIN = (str, int, float, bool, type(None))


@dataclass(frozen=True)
class _Node:
    """A mapping or a value in a config.

    Attributes:
        key: Its key.
        kind: Name of the class that it sets up, empty where it names none.
        values: What it holds, by the name of the parameter; None for a plain value.
    """

    key: str
    kind: str
    values: Mapping[str, Any] | None

    def key_of(self, parameter: str) -> str:
        """The key of one of its values."""
        return f"{self.key}.init_args.{parameter}" if self.kind else f"{self.key}.{parameter}"

    @property
    def names(self) -> list[str]:
        """The names that lead to it, as library code writes them."""
        return [name for name in self.key.split(".") if name != "init_args"]


def with_key(error: UserError, config: Namespace | None) -> UserError:
    """The same error, with the key on the command line in front in place of the parameter.

    Library code names the parameter: `preparation.views: ...`, or `LoraTuning.rank ...` with its
    class. What is built by `building.build` may leave the class out. An error that names none, or
    one that two parts of the config have, stays as it is; so does every one where nothing was
    parsed.
    """
    text = str(error)
    if text.startswith("--") or config is None:
        return error
    nodes, part = list(_nodes(config)), part_of(error)
    found = None if part is None else _with_part(text, part, nodes)
    found = found or _with_name(text, nodes)
    return error if found is None else UserError(f"--{found}")


def _nodes(value: Any, key: str = "") -> Iterator[_Node]:
    if isinstance(value, list):
        yield _Node(key, "", None)
        for index, entry in enumerate(value):
            yield from _nodes(entry, f"{key}[{index}]")
        return
    if not isinstance(value, (Namespace, dict)):
        yield _Node(key, "", None)
        return
    path = value.get("class_path")
    held = dict(vars(value) if isinstance(value, Namespace) else value)
    if path is not None:
        given = held.get("init_args") or {}
        held = dict(vars(given) if isinstance(given, Namespace) else given)
    node = _Node(key, "" if path is None else str(path).rpartition(".")[2], held)
    if key:
        yield node
    for name, inner in held.items():
        yield from _nodes(inner, node.key_of(name) if key else name)


def _with_part(text: str, part: Part, nodes: list[_Node]) -> str | None:
    """The text with the key of the part that was being built."""
    node = _node_of(part, nodes)
    if node is None:
        return None
    name = part.kind.__name__
    rest = re.sub(rf"^{name}(\.|: )", "", text)
    word = _WORD.match(rest)
    if word is not None and word[0] in inspect.signature(part.kind).parameters:
        return f"{node.key_of(word[0])}{rest[word.end() :]}"
    if rest == text and _NAMED.match(text):
        return None  # it names a parameter of another part
    return f"{node.key}: {rest}"


def _node_of(part: Part, nodes: list[_Node]) -> _Node | None:
    """Which of a config's mappings a part was built from: of those that agree, the fullest."""
    name = part.kind.__name__
    alike = [
        node
        for node in nodes
        if node.values is not None
        and (node.kind == name or (not node.kind and node.values))
        and (node.kind or node.values.keys() <= part.values.keys())
        and all(_agrees(node.values[n], v) for n, v in part.values.items() if n in node.values)
    ]
    return max(alike, key=lambda node: (bool(node.kind), len(node.values or ())), default=None)


def _agrees(written: Any, given: Any) -> bool:
    """Whether a value of a config may be what a constructor was given; NaN is not itself."""
    both_plain = isinstance(written, _PLAIN) and isinstance(given, _PLAIN)
    return not both_plain or written == given or repr(written) == repr(given)


def _with_name(text: str, nodes: list[_Node]) -> str | None:
    """The text with the key of the parameter that it begins with."""
    match = _NAMED.match(text)
    if match is None:
        return None
    key = _key_of((match["name"] or match["alone"]).split("."), nodes)
    return None if key is None else f"{key}{text[match.end() :]}"


def _key_of(names: list[str], nodes: list[_Node]) -> str | None:
    """The one key that the names are the end of, or that they reach from a class's name."""
    kind, *inner = names
    owners = [node for node in nodes if node.kind == kind]
    if owners:
        if len(owners) > 1:
            return None
        return ".".join([owners[0].key_of(inner[0]), *inner[1:]]) if inner else owners[0].key
    ends = [node for node in nodes if node.names[-len(names) :] == names]
    whole = [node for node in ends if len(node.names) == len(names)]
    return (whole or ends)[0].key if len(whole or ends) == 1 else None
