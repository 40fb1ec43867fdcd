"""How the parser reads files and texts of YAML: as UTF-8, and nothing in them is dropped."""

import pathlib
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from typing import Any

import yaml
from jsonargparse.typing import Path

from idgen.errors import UserError
from idgen.texts import read_text
from idgen.yaml_texts import check_yaml, load_yaml, read_yaml

# As jsonargparse called it up to 4.48.
_READ = "read_text" if hasattr(Path, "read_text") else "get_content"
# Files of weights hold no settings: what names one is a value, whatever it might be in a file.
_WEIGHTS = ".safetensors"
_OF_FIT = {"trainer", "model", "data"}
_OF_BENCHMARK = {"methods", "reference"}


@contextmanager
def checked_files() -> Iterator[None]:
    """Lets jsonargparse read each file that a config or an option names by `read_checked`.

    It takes the machine's encoding, and the last of two equal keys, and has no other way in.
    """
    original = getattr(Path, _READ)

    def read(self: Any) -> Any:
        if str(self) == "-":
            return original(self)
        path = pathlib.Path(self.absolute)
        if path.suffix.lower() == _WEIGHTS:
            return str(self.relative)
        return read_checked(path)

    setattr(Path, _READ, read)
    try:
        yield
    finally:
        setattr(Path, _READ, original)


def read_checked(path: pathlib.Path) -> str:
    """The text of a YAML file.

    Raises:
        UserError: If it cannot be read, is not UTF-8, or `check_yaml` refuses it.
    """
    text = read_text(path)
    check_yaml(text, str(path))
    return text


def options_with_values(args: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each option of a command line with its value, as `--key value` or `--key=value`."""
    for index, arg in enumerate(args):
        key, equals, value = arg.partition("=")
        if not key.startswith("-"):
            continue
        if equals:
            yield key, value
        elif index + 1 < len(args):
            yield key, args[index + 1]


def check_options(args: Sequence[str], sections: Mapping[str, str]) -> None:
    """Refuses values that would be dropped, or that would keep the parser busy without end.

    Args:
        args: The command line.
        sections: What has keys of its own, each with one of them as an example.

    Raises:
        UserError: If a value has a key twice or an alias without end, or a section is given
            something else than keys.
    """
    for option, value in options_with_values(args):
        if value.lstrip().startswith(("{", "[", "&")) and _is_yaml(value):
            check_yaml(value, option)
        key = option.removeprefix("--")
        if key in sections:
            _check_section(load_yaml(value, option), key, "--", sections, pathlib.Path.cwd())


def _is_yaml(value: str) -> bool:
    """Whether a value is YAML at all: a prompt may begin with [V]."""
    try:
        yaml.compose(value)
    except (yaml.YAMLError, RecursionError):
        return False
    return True


def _is_file(path: pathlib.Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long for a name, or a character that none may have
        return False


def check_config(
    text: str, name: str, keys: Set[str], sections: Mapping[str, str]
) -> dict[str, Any]:
    """Refuses a config that is none, or is another command's, or whose sections are no sections.

    Args:
        text: Its text, YAML.
        name: The file's path, or `--config`.
        keys: The parser's keys at the top.
        sections: Those that have keys of their own, at any depth, each with one as an example.

    Returns:
        What it holds, nested.

    Raises:
        UserError: In one line that names the file and the key.
    """
    held = load_yaml(text, name)
    if held is None:
        raise UserError(f"{name} is empty; give it keys, such as {min(keys)!r}")
    config = nested(held, name)
    check_kind(config, name, keys)
    if "config" in config and "config" not in sections:
        raise UserError(f"{name}: a config cannot name another; give --config several times")
    folder = pathlib.Path(name).absolute().parent
    for key, value in config.items():
        _check_section(value, str(key), f"{name}: ", sections, folder)
    return config


def nested(config: Any, name: str) -> dict[str, Any]:
    """A config whose keys with dots, such as `trainer.max_steps`, are laid into their sections.

    Args:
        config: What it holds.
        name: The file's path.

    Raises:
        UserError: If it is no mapping, or says a key in both ways.
    """
    if not isinstance(config, dict):
        raise UserError(f"{name} has to hold keys and their values, not {config!r:.80}")
    found = {str(key): value for key, value in config.items() if "." not in str(key)}
    for key in (str(key) for key in config if "." in str(key)):
        *sections, last = key.split(".")
        inside = found
        for section in sections:
            if not isinstance(inside.get(section, {}), dict):
                raise UserError(f"{name}: {key!r} and {section!r} contradict; keep one of them")
            inside[section] = dict(inside.get(section, {}))
            inside = inside[section]
        if last in inside:
            raise UserError(f"{name}: the key {key!r} is there twice; keep one of them")
        inside[last] = config[key]
    return found


def check_kind(config: Mapping[Any, Any], name: str, keys: Set[str]) -> None:
    """Refuses the config of another command.

    Args:
        config: What it holds.
        name: The file's path.
        keys: The keys at the top of a config of this command.

    Raises:
        UserError: If it is another's.
    """
    if not keys & _OF_BENCHMARK and config.keys() >= _OF_BENCHMARK:
        raise UserError(f"{name} is for idgen benchmark: run idgen benchmark --config {name}")
    if not keys & _OF_FIT and config.keys() & _OF_FIT:
        raise UserError(
            f"{name} is for idgen fit; idgen benchmark takes one that names it under configs, as "
            "configs/benchmark/quick.yaml does"
        )


def _check_section(
    value: Any, key: str, name: str, sections: Mapping[str, str], folder: pathlib.Path
) -> None:
    """Refuses a section that is no mapping; a section may also be a file that holds one."""
    is_section = key in sections or key.endswith(".init_args")
    if is_section and isinstance(value, str) and _is_file(folder / value):
        value = read_yaml(folder / value, f"{name}{key}")
    if isinstance(value, dict):
        for inner, held in value.items():
            _check_section(held, f"{key}.{inner}", name, sections, folder)
    elif is_section:
        example = sections.get(key)
        such = "" if example is None else f", such as {key}.{example}"
        if value is None:
            raise UserError(f"{name}{key} is empty; give it keys of its own{such}, or leave it out")
        raise UserError(f"{name}{key} has to hold keys of its own{such}, not {value!r:.80}")
