"""E_I of several image encoders, whose embeddings stand side by side."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

from idgen.fingerprint import fingerprint_fields
from idgen.models.encoders import ImageEncoder


class SideBySideEncoders(ImageEncoder):
    """The image twins of a backbone with several text encoders, such as SDXL's two.

    Its states are those of CLIP ViT-L/14 and ViT-bigG/14 side by side, and so are these
    embeddings: 768 + 1280 = 2048 wide.
    """

    def __init__(self, encoders: Sequence[ImageEncoder]) -> None:
        """Takes the encoders; nothing is loaded.

        Args:
            encoders: In the order of the text encoders.

        Raises:
            ValueError: If there is none.
        """
        if not encoders:
            raise ValueError("encoders is empty; name one or more image encoders")
        self.encoders = list(encoders)
        # A captioner that has no model of its own takes the first one's.
        super().__init__(self.encoders[0].model, self.encoders[0].pretrained)

    @property
    def width(self) -> int:
        """The sum of their widths."""
        return sum(encoder.width for encoder in self.encoders)

    @property
    def identity(self) -> str:
        """Hash of all of them, in order."""
        return fingerprint_fields(side_by_side=" ".join(e.identity for e in self.encoders))

    def fetch(self) -> None:
        """Downloads the weights of those that are not on this machine yet."""
        for encoder in self.encoders:
            encoder.fetch()

    @contextmanager
    def loaded(
        self, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> Iterator[Callable[[Tensor], Tensor]]:
        """Loads all image towers, and frees them when the context ends; see `ImageEncoder`."""
        with ExitStack() as held:
            each = [held.enter_context(one.loaded(device, dtype)) for one in self.encoders]
            yield lambda pixels: torch.cat([encode(pixels) for encode in each], dim=-1)
