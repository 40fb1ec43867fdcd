"""Libraries imported without work that importing them does not need."""

import functools
import gc
import importlib.metadata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

_of_all_packages = importlib.metadata.packages_distributions
_lru_cache = functools.lru_cache


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


def import_model_libraries() -> None:
    """Imports diffusers and transformers without work that is done in vain.

    Diffusers asks for the packages' distributions as it is imported, for which Python stats all of
    their files, but looks into them for a few rare packages alone. So it is given the same mapping,
    found when it is looked into. Whoever else asks meanwhile gets equal content.

    Transformers reads all of its models' files, as it is imported and again when the first of them
    is asked for; it keeps what it found of each, but of fewer than there are. So it keeps all.
    """
    # What another has put there stays so.
    before = importlib.metadata.packages_distributions, functools.lru_cache
    importlib.metadata.packages_distributions = _OfPackages
    functools.lru_cache = _keeping_all
    try:
        import diffusers  # noqa: F401
        import transformers  # noqa: F401
    finally:
        importlib.metadata.packages_distributions, functools.lru_cache = before


def _keeping_all(maxsize: Any = 128, typed: bool = False) -> Any:
    """`functools.lru_cache`, but without a limit for transformers' look at its files."""
    looks = getattr(maxsize, "__name__", "") == "create_import_structure_from_path"
    return _lru_cache(maxsize=None)(maxsize) if looks else _lru_cache(maxsize, typed)
