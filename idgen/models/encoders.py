"""E_I: the frozen image encoder whose embeddings become conditions."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from idgen.devices import free
from idgen.models.open_clip_source import OpenClipSource
from idgen.sources import MINI


class ImageEncoder:
    """An open_clip image tower, in memory only while it encodes.

    It has to be the image twin of the backbone's text encoder, so that f_p and f'_i live in the
    text's space and have its width: ViT-H-14 (laion2b_s32b_b79k) for SD 2.x, ViT-L-14 (openai)
    for SD 1.x, `mini` for the mini backbone.
    """

    def __init__(self, model: str = MINI, pretrained: str | None = None) -> None:
        """Names the model; `width` reads its configuration, `loaded` brings in the weights.

        Args:
            model: `mini`, `local-dir:FOLDER`, or an open_clip architecture such as `ViT-H-14`.
            pretrained: open_clip's name of the weights, or a file of them; None with a folder.
        """
        self.model = model
        self.pretrained = pretrained
        self._source = OpenClipSource(
            model, pretrained, part="encoder", parameter="ImageEncoder.model"
        )

    @property
    def width(self) -> int:
        """D of the embeddings.

        Raises:
            UserError: If there is no such model.
        """
        return self._source.width

    @property
    def identity(self) -> str:
        """Hash of what computes the features: the architecture, the weights, the preprocessing."""
        return self._source.identity

    def fetch(self) -> None:
        """Downloads weights that are not on this machine yet; raises what `loaded` does."""
        self._source.fetch()

    @contextmanager
    def loaded(
        self, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> Iterator[Callable[[Tensor], Tensor]]:
        """Loads the image tower, and frees it when the context ends.

        Args:
            device: Where it runs.
            dtype: What its weights and its computation are in.

        Yields:
            A function from pixels `B 3 H W` in [-1, 1], all encoded at once, to embeddings `B D`,
            float32 on the CPU, not normalised.

        Raises:
            UserError: If the weights cannot be had.
        """
        tower, size, mean, std = self._load(device, dtype)

        @torch.inference_mode()
        def encode(pixels: Tensor) -> Tensor:
            unit = (pixels.to(device) + 1) / 2
            resized = interpolate(
                unit, size=size, mode="bicubic", antialias=True, align_corners=False
            ).clamp(0, 1)
            shown = ((resized - mean) / std).to(dtype)
            features: Tensor = tower(shown)  # noqa: F821  (deleted on exit only)
            return features.float().cpu()

        try:
            yield encode
        finally:
            del tower  # also from `encode`, which the caller may still hold
            free(device)

    def _load(
        self, device: torch.device, dtype: torch.dtype
    ) -> tuple[nn.Module, tuple[int, int], Tensor, Tensor]:
        import open_clip

        model: Any = self._source.load()
        visual = model.visual
        preprocess = open_clip.get_model_preprocess_cfg(model)
        size = preprocess["size"]
        height, width = (size, size) if isinstance(size, int) else size
        mean, std = (torch.tensor(preprocess[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
        visual.to(device, dtype)
        return visual, (int(height), int(width)), mean.to(device), std.to(device)
