"""What libraries say while commands run."""

import gc
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import MemoryHandler

from idgen.importing import import_model_libraries, uncollected


def quieten() -> None:
    """Keeps libraries from reporting what is no news, so that our own lines are read."""
    is_first = "diffusers" not in sys.modules
    with uncollected():
        import_model_libraries()
        import diffusers
        import transformers
    if is_first:
        # No model is there yet, so what is there stays: later collections need not look at it.
        gc.freeze()

    for library in (diffusers, transformers):
        library.logging.set_verbosity_error()
        library.logging.disable_progress_bar()
    for text in (
        ".*args parameter is intended.*",
        ".*does not have many workers.*",
        ".*sync_dist=True.*",
        ".*LeafSpec.*",
        ".*in eval mode at the start of training.*",
        ".*defined a `validation_step` but have no `val_dataloader`.*",
        ".*custom batch sampler.*",
        # A resumed run goes on in its folder.
        ".*Checkpoint directory .* exists and is not empty.*",
    ):
        warnings.filterwarnings("ignore", text)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda record: "litlogger" not in record.getMessage()
    )
    # Without the place in the code, which tells users nothing.
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    if not sys.warnoptions:
        for kind in (FutureWarning, DeprecationWarning):
            warnings.filterwarnings("ignore", category=kind)


@contextmanager
def quiet_writers() -> Iterator[None]:
    """Keeps threads that write logs from printing a traceback where the disk is full.

    They hand the error on to whoever logs next.
    """
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if not isinstance(args.exc_value, OSError):
            before(args)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


_LIGHTNING = ("lightning", "lightning.pytorch", "lightning.fabric")


class HeldLines:
    """Holds back what Lightning's loggers say until a run starts, so that a refusal is one line."""

    def __init__(self) -> None:
        """Holds back from now on."""
        self.loggers = [logging.getLogger(name) for name in _LIGHTNING]
        self._handlers = [list(logger.handlers) for logger in self.loggers]
        self._held: list[MemoryHandler] = []
        for logger in self.loggers:
            held = [_held(handler) for handler in logger.handlers]
            logger.handlers = list(held)
            self._held += held

    def release(self) -> None:
        """Writes what was held back, in its order, and holds back no more."""
        self._restore()
        for handler in self._held:
            handler.flush()

    def drop(self) -> None:
        """Forgets what is still held back, and holds back no more."""
        self._restore()
        for handler in self._held:
            handler.buffer.clear()

    def _restore(self) -> None:
        for logger, handlers in zip(self.loggers, self._handlers, strict=True):
            logger.handlers = list(handlers)


def _held(handler: logging.Handler) -> MemoryHandler:
    never = logging.CRITICAL + 1
    return MemoryHandler(sys.maxsize, flushLevel=never, target=handler, flushOnClose=False)
