"""What an encoder sees: resize, crop and normalisation of a batch of 8-bit images.

A score is only comparable with published ones under their preprocessing, and the tensors here
have to come out as Pillow would make them: antialiased, and rounded to 8 bits after the resize.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode  # type: ignore[import-untyped, unused-ignore]
from torchvision.transforms.v2 import functional as transforms

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

ResizeMode = Literal["shortest", "longest", "squash"]
_MODES: tuple[ResizeMode, ...] = ("shortest", "longest", "squash")
_INTERPOLATIONS = {
    "bicubic": InterpolationMode.BICUBIC,
    "bilinear": InterpolationMode.BILINEAR,
    # open_clip's "random" is for training and means bicubic where nothing is random.
    "random": InterpolationMode.BICUBIC,
}


@dataclass(frozen=True)
class Preprocessing:
    """Resize, centre crop and normalisation of 8-bit RGB images.

    Attributes:
        resize: Height and width in pixels that the resize aims at.
        crop: Height and width in pixels of what the encoder gets.
        mean: Mean of each channel, for pixels in [0, 1].
        std: Standard deviation, likewise.
        mode: ``shortest`` fits the shorter side and keeps the ratio, ``longest`` fits the longer
            side and pads, ``squash`` stretches to ``resize``.
        interpolation: ``bicubic`` or ``bilinear``, always antialiased.
        fill: Value of padded pixels, 0 to 255.
    """

    resize: tuple[int, int]
    crop: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    mode: ResizeMode = "shortest"
    interpolation: str = "bicubic"
    fill: int = 0

    def __post_init__(self) -> None:
        if self.mode not in _MODES:
            raise ValueError(f"mode: one of {', '.join(_MODES)} is needed, got {self.mode!r}")
        if self.interpolation not in _INTERPOLATIONS:
            raise ValueError(
                f"interpolation: one of {', '.join(_INTERPOLATIONS)} is needed, "
                f"got {self.interpolation!r}"
            )

    @classmethod
    def of_open_clip(cls, config: dict[str, Any]) -> "Preprocessing":
        """What open_clip's evaluation transform does to a Pillow image.

        Args:
            config: A model's ``preprocess_cfg``: ``size``, ``mean``, ``std`` and optionally
                ``interpolation``, ``resize_mode`` and ``fill_color``.

        Raises:
            ValueError: If a resize mode or an interpolation is unknown.
        """
        size = config["size"]
        height, width = (size, size) if isinstance(size, int) else (size[0], size[-1])
        return cls(
            resize=(height, width),
            crop=(height, width),
            mean=_per_channel(config["mean"]),
            std=_per_channel(config["std"]),
            mode=config.get("resize_mode") or "shortest",
            interpolation=config.get("interpolation") or "bicubic",
            fill=config.get("fill_color", 0),
        )

    @classmethod
    def of_dino(
        cls,
        image_size: int,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
    ) -> "Preprocessing":
        """DINO's evaluation protocol (Caron et al., 2021, arXiv 2104.14294).

        Bicubic resize of the shorter side to 256/224 of the model's size, then a centre crop.

        Args:
            image_size: Pixels on a side of the model's input.
            mean: Mean of each channel, ImageNet's by default.
            std: Standard deviation of each channel, ImageNet's by default.
        """
        resize = round(image_size * 256 / 224)
        return cls((resize, resize), (image_size, image_size), mean, std)

    def __call__(self, images: Tensor) -> Tensor:
        """Prepares a batch.

        Args:
            images: ``B 3 H W``, uint8, RGB.

        Returns:
            ``B 3 h w`` float32, where ``h w`` is ``crop``, normalised by ``mean`` and ``std``.

        Raises:
            ValueError: If the images are not uint8 of that shape.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(
                f"images: uint8 B 3 H W is needed, got {images.dtype} {tuple(images.shape)}"
            )
        resized = transforms.resize(
            images,
            self._resized(*images.shape[-2:]),
            interpolation=_INTERPOLATIONS[self.interpolation],
            antialias=True,
        )
        cropped = transforms.center_crop(self._padded(resized), list(self.crop))
        scaled = transforms.to_dtype(cropped, torch.float32, scale=True)
        normalised: Tensor = transforms.normalize(scaled, list(self.mean), list(self.std))
        return normalised

    def _resized(self, height: int, width: int) -> list[int]:
        if self.mode == "squash":
            return list(self.resize)
        if self.mode == "shortest" and self.resize[0] == self.resize[1]:
            # torchvision's rule, which cuts off the longer side's fraction where timm's rounds.
            target = self.resize[0]
            if height <= width:
                return [target, int(target * width / height)]
            return [int(target * height / width), target]
        ratios = (height / self.resize[0], width / self.resize[1])
        ratio = max(ratios) if self.mode == "longest" else min(ratios)
        return [round(height / ratio), round(width / ratio)]

    def _padded(self, images: Tensor) -> Tensor:
        missing_rows = max(self.crop[0] - images.shape[-2], 0)
        missing_columns = max(self.crop[1] - images.shape[-1], 0)
        if not missing_rows and not missing_columns:
            return images
        left, top = missing_columns // 2, missing_rows // 2
        padding = [left, top, missing_columns - left, missing_rows - top]
        padded: Tensor = transforms.pad(images, padding, fill=self.fill)
        return padded


def _per_channel(value: float | list[float] | tuple[float, ...]) -> tuple[float, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,) * 3
