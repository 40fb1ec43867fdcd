"""Photos whose subject is known, and small models that note when they are loaded."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from idgen.models.encoders import ImageEncoder
from idgen.prepare import Inpainter, OpenCVInpainter, Photo, Preparation, Segmenter
from idgen.prepare.inpainter import Inpaint
from idgen.prepare.segmenter import Mask, Segment

CPU = torch.device("cpu")
RESOLUTION = 32
WIDTH = 8


def picture(seed: int, height: int = 40, width: int = 56) -> NDArray[np.uint8]:
    """A red ellipse on a noisy ground of blue and green, `H W 3`."""
    draw = np.random.default_rng(seed)
    ground = np.array([20, *draw.integers(60, 220, 2)])
    pixels = ground + draw.integers(-15, 16, (height, width, 3))
    y, x = np.mgrid[:height, :width]
    row, column = draw.uniform(0.35, 0.65, 2) * (height, width)
    radii = draw.uniform(0.15, 0.3, 2) * min(height, width)
    inside = ((y - row) / radii[0]) ** 2 + ((x - column) / radii[1]) ** 2 < 1
    pixels[inside] = (230, 20, 20)
    return pixels.clip(0, 255).astype(np.uint8)


def red(pixels: NDArray[np.uint8], threshold: int = 100) -> Mask:
    """The subject of `picture`, `H W`."""
    values = pixels.astype(int)
    return np.asarray(values[..., 0] - values[..., 1:].max(axis=-1) > threshold)


def save_photos(folder: Path, *seeds: int) -> Path:
    """Saves `picture(seed)` as `SEED.png` for each seed."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        Image.fromarray(picture(seed)).save(folder / f"{seed}.png")
    return folder


class RedSegmenter(Segmenter):
    """Takes what is red; notes each photo it is asked about."""

    def __init__(self, log: list[str], threshold: int = 100) -> None:
        self.log = log
        self.threshold = threshold
        self.meanwhile: Callable[[], None] = lambda: None

    @property
    def identity(self) -> str:
        return f"red over {self.threshold}"

    @contextmanager
    def loaded(self, device: torch.device) -> Iterator[Segment]:
        self.log.append("segmenter")
        self.meanwhile()

        def segment(photo: Photo) -> Mask:
            self.log.append(f"mask {photo.name}")
            return red(photo.pixels(), self.threshold)

        yield segment
        self.log.append("segmenter freed")


class LoggingInpainter(Inpainter):
    """OpenCV's, noting when it is loaded."""

    def __init__(self, log: list[str], radius: float = 3) -> None:
        self.log = log
        self.inner = OpenCVInpainter(radius=radius)

    @property
    def identity(self) -> str:
        return self.inner.identity

    @contextmanager
    def loaded(self, device: torch.device) -> Iterator[Inpaint]:
        self.log.append("inpainter")
        with self.inner.loaded(device) as inpaint:
            yield inpaint
        self.log.append("inpainter freed")


class LinearEncoder(ImageEncoder):
    """A random projection of the picture's coarse colours."""

    def __init__(self, log: list[str], seed: int = 0, width: int = WIDTH) -> None:
        self.log = log
        self.model = f"linear {seed}"
        self.matrix = torch.randn(48, width, generator=torch.Generator().manual_seed(seed))

    @property
    def width(self) -> int:
        return self.matrix.shape[1]

    @property
    def identity(self) -> str:  # type: ignore[override]
        return f"{self.model} to {self.width}"

    def embed(self, pixels: Tensor) -> Tensor:
        return adaptive_avg_pool2d(pixels, 4).flatten(1) @ self.matrix

    @contextmanager
    def loaded(self, device: torch.device) -> Iterator[Callable[[Tensor], Tensor]]:
        self.log.append("encoder")
        yield self.embed
        self.log.append("encoder freed")


class TinyBackbone:
    """A random AutoencoderKL that halves the side."""

    def __init__(self, log: list[str], seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.log = log
        self.identity = f"tiny {seed}"
        self.source = self.identity
        self.resolution = RESOLUTION
        self.width = WIDTH
        self.vae = AutoencoderKL(
            block_out_channels=(4, 4),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            norm_num_groups=2,
        ).eval()

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        posterior = self.vae.encode(pixels).latent_dist
        return posterior.mean, posterior.logvar

    def decode(self, latents: Tensor) -> Tensor:
        decoded: Tensor = self.vae.decode(latents).sample
        return decoded

    @contextmanager
    def autoencoder(self, device: torch.device) -> Iterator["TinyBackbone"]:
        self.log.append("autoencoder")
        yield self
        self.log.append("autoencoder freed")


class Bench:
    """A preparation of stand-ins, its backbone, and the log of what was loaded."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.segmenter = RedSegmenter(self.log)
        self.encoder = LinearEncoder(self.log)
        self.backbone = TinyBackbone(self.log)
        self.preparation = Preparation(self.segmenter, LoggingInpainter(self.log), self.encoder)

    def run(self, photos: Path, output: Path) -> list[str]:
        """Runs it and returns what that loaded, and for which photos masks were sought."""
        self.log.clear()
        self.preparation.run(photos, output, self.backbone, CPU, progress=False)
        return [entry for entry in self.log if not entry.endswith("freed")]

    def is_fresh(self, photos: Path, output: Path) -> bool:
        self.log.clear()
        fresh = self.preparation.is_fresh(photos, output, self.backbone)
        assert self.log == [], "asking loads no model"
        return fresh


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, hidden ones too, by its path."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def one_line(error: BaseException) -> str:
    """The text of an error that has to be one line."""
    text = str(error)
    assert text
    assert text.splitlines() == [text]
    return text
