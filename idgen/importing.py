"""Libraries imported without work that importing them does not need."""

import gc
import importlib.metadata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property

_of_all_packages = importlib.metadata.packages_distributions


class _OfPackages(Mapping[str, list[str]]):
    """What `importlib.metadata.packages_distributions` returns, found once it is asked for."""

    @cached_property
    def _found(self) -> Mapping[str, list[str]]:
        return _of_all_packages()

    def __getitem__(self, package: str) -> list[str]:
        return self._found[package]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


class _Process:
    """What is known of the process: whether it is a command's own, and ends with it."""

    is_a_commands = False


def be_a_commands_process() -> None:
    """Lets what starts make stay for good: this process ends with its command.

    In a process that goes on, such as a notebook's, it would keep other garbage too.
    """
    _Process.is_a_commands = True


@contextmanager
def uncollected() -> Iterator[None]:
    """Looks for no garbage while libraries are imported or a run is built.

    What that makes is no garbage; to look through it again and again takes a tenth of a start.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            if _Process.is_a_commands:
                gc.freeze()
            gc.enable()


def import_diffusers() -> None:
    """Imports diffusers without its look at every file of every installed package.

    It asks for the packages' distributions as it is imported, for which Python stats all of their
    files, but looks into them for a few rare packages alone. So it is given the same mapping, found
    when it is looked into. Whoever else asks meanwhile gets equal content.
    """
    importlib.metadata.packages_distributions = _OfPackages
    try:
        import diffusers  # noqa: F401
    finally:
        importlib.metadata.packages_distributions = _of_all_packages
