"""What the encoders of all scores share: loading, freezing, batches, unit length."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import normalize

from idgen.devices import free
from idgen.metrics.preprocessing import Preprocessing


@dataclass(frozen=True)
class LoadedEncoder:
    """A network in memory and what belongs to it.

    Attributes:
        network: The frozen network.
        preprocessing: What is done to images before it.
        width: E, the length of an embedding.
    """

    network: Any
    preprocessing: Preprocessing
    width: int


class ImageScorer(ABC):
    """A frozen image encoder whose embeddings are compared; light until it is loaded."""

    def __init__(self, model: str, batch_size: int) -> None:
        """Notes which model, without touching it.

        Args:
            model: Its name, as the subclass reads it.
            batch_size: Images or texts encoded at once; changes memory, not results.

        Raises:
            ValueError: If ``batch_size`` is below 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size: at least 1 is needed, got {batch_size}")
        self.model = model
        self.batch_size = batch_size
        self._encoder: LoadedEncoder | None = None
        self._device = torch.device("cpu")

    @property
    @abstractmethod
    def identity(self) -> str:
        """Hash of what computes the embeddings, known without loading the weights.

        Reading it checks cheaply that the model is named rightly, before any work starts.

        Raises:
            UserError: If a folder, an architecture or a name of weights does not exist.
        """

    @abstractmethod
    def fetch(self) -> None:
        """Downloads what is not here yet, without loading it; a UserError if that cannot be."""

    @property
    def preprocessing(self) -> Preprocessing:
        """What is done to images before the network; a RuntimeError unless it is loaded."""
        return self._loaded_encoder.preprocessing

    def load(self, device: torch.device) -> Self:
        """Brings the weights in, frozen and in evaluation mode, float32; a second call moves them.

        Args:
            device: Where to encode.

        Returns:
            The scorer itself.

        Raises:
            UserError: If there is no such model, it is damaged, or it cannot be fetched.
        """
        if self._encoder is None:
            self._encoder = self._load()
            self._encoder.network.float().eval().requires_grad_(False)
        self._encoder.network.to(device)
        self._device = device
        return self

    def rest(self) -> None:
        """Keeps the weights in the host's memory, and none on an accelerator, until `load`.

        To build a network and read its weights anew takes longer than to move it.
        """
        if self._encoder is not None:
            self._encoder.network.to("cpu")
            free(self._device)
            self._device = torch.device("cpu")

    def release(self) -> None:
        """Frees the weights; `load` brings them back."""
        self._encoder = None
        free(self._device)

    @contextmanager
    def loaded(self, device: torch.device) -> Iterator[Self]:
        """Does what `load` does on entry, and frees on exit."""
        try:
            yield self.load(device)
        finally:
            self.release()

    def embed_images(self, images: Tensor | Sequence[Tensor]) -> Tensor:
        """Embeds images.

        Args:
            images: uint8 RGB, either ``B 3 H W`` or a sequence of B images ``3 H W`` that may
                differ in size, as reference photos do. B may be 0.

        Returns:
            ``B E`` float32 on the scorer's device, each of unit length.

        Raises:
            RuntimeError: If the scorer is not loaded.
            ValueError: If the images are not uint8 of that shape.
        """
        prepare = self.preprocessing

        def encode(batch: Tensor | Sequence[Tensor]) -> Tensor:
            if isinstance(batch, Tensor):
                pixels = prepare(batch.to(self._device))
            else:
                pixels = torch.cat([prepare(image[None].to(self._device)) for image in batch])
            return self._image_features(pixels)

        return self._encode_in_batches(encode, images)

    def _encode_in_batches(self, encode: Callable[[Any], Tensor], items: Any) -> Tensor:
        # Training's autocast must not reach the scores, or they would depend on its precision.
        with torch.inference_mode(), torch.autocast(self._device.type, enabled=False):
            batches = [
                normalize(encode(items[start : start + self.batch_size]).float(), dim=1)
                for start in range(0, len(items), self.batch_size)
            ]
            if not batches:
                return torch.empty(0, self._loaded_encoder.width, device=self._device)
            return torch.cat(batches)

    @property
    def _loaded_encoder(self) -> LoadedEncoder:
        if self._encoder is None:
            raise RuntimeError(f"{type(self).__name__}: call load(device) first")
        return self._encoder

    @abstractmethod
    def _load(self) -> LoadedEncoder:
        """The network on the CPU, and what its images need."""

    @abstractmethod
    def _image_features(self, pixels: Tensor) -> Tensor:
        """Prepared pixels ``B 3 h w`` to ``B E``, of any length."""
