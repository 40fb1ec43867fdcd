"""Opening pictures that may be as large as photos are."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from PIL import Image

_FILTERS = threading.Lock()
"""Pictures are read by threads, and the filters of warnings are the process's."""


@contextmanager
def opened_picture(source: Path | IO[bytes]) -> Iterator[Image.Image]:
    """Opens a picture without Pillow's warning on large ones, which names no file.

    Between one and two times Pillow's limit lie honest photos; beyond, it refuses.

    Args:
        source: A file, or its content.

    Raises:
        Exception: Of many kinds, on what is no image.
    """
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image = Image.open(source)
    with image:
        yield image
