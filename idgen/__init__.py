"""idgen: one subject, learnt from a few photos, kept apart from their background and pose."""

from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"
__all__ = ["__version__", "load", "train"]

if TYPE_CHECKING:
    from idgen.api import load, train
else:

    def __getattr__(name: str) -> Any:
        """`train` and `load`, imported when they are first asked for: torch is heavy."""
        if name in ("load", "train"):
            from idgen import api

            return getattr(api, name)
        raise AttributeError(f"module 'idgen' has no attribute {name!r}")
