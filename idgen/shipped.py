"""The configs that ship with idgen, found by name from any folder."""

from collections.abc import Sequence
from pathlib import Path

_PACKAGE = Path(__file__).parent
_FOLDER = "configs"
_OPTIONS = ("--config", "-c")


def shipped_configs() -> Path:
    """The folder of them: in the installed package, or beside it in a checkout."""
    installed = _PACKAGE / _FOLDER
    return installed if installed.is_dir() else _PACKAGE.parent / _FOLDER


def config_file(name: str) -> str:
    """The file that a config's name means: the user's own, else the shipped one.

    Args:
        name: Such as `mine.yaml`, or of a shipped one `configs/base.yaml`, or `base.yaml` for
            short.

    Returns:
        A path; the name itself where there is no such file at all.
    """
    path = Path(name)
    if path.expanduser().exists() or path.is_absolute() or ".." in path.parts:
        return name
    below = path.relative_to(_FOLDER) if path.parts[:1] == (_FOLDER,) else path
    shipped = shipped_configs() / below
    return str(shipped) if shipped.is_file() else name


def with_shipped_configs(options: Sequence[str]) -> list[str]:
    """A command's options, the configs among them as files; see `config_file`."""
    found = list(options)
    for index, option in enumerate(options):
        if index > 0 and options[index - 1] in _OPTIONS:
            found[index] = config_file(option)
        else:
            key, equals, value = option.partition("=")
            if equals and key in _OPTIONS:
                found[index] = f"{key}={config_file(value)}"
    return found
