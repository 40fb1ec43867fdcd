"""Pictures that a run has read or made, so that it decodes each of them once."""

import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_MOST_BYTES = 512 << 20


class Memory:
    """The pictures that were used last, up to a number of bytes; several threads may use it."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        """Starts empty, with room for so much; a photo of 12 megapixels takes 36 MB."""
        self._most_bytes = most_bytes
        self._pictures: OrderedDict[str, NDArray[np.uint8]] = OrderedDict()
        self._lock = threading.Lock()
        self._reading: dict[str, threading.Lock] = {}

    def get(self, key: str, read: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """The picture of a key, which nobody may change; read where it is not remembered.

        Threads that want the same picture wait for the one that reads it.
        """
        with self._lock:
            own = self._reading.setdefault(key, threading.Lock())
        with own:
            with self._lock:
                if key in self._pictures:
                    self._pictures.move_to_end(key)
                    return self._pictures[key]
            picture = read()
            self.put(key, picture)
            return picture

    def put(self, key: str, picture: NDArray[np.uint8]) -> None:
        """Remembers a picture in place of those that were not used for longest."""
        with self._lock:
            self._pictures[key] = picture
            self._pictures.move_to_end(key)
            while sum(kept.nbytes for kept in self._pictures.values()) > self._most_bytes:
                self._pictures.popitem(last=False)
