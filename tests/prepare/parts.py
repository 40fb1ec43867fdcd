"""Small real stand-ins for the parts of a preparation, and photos of unique colours."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from idgen.backbones.latents import Autoencoder
from idgen.fingerprint import fingerprint_fields
from idgen.masks import Mask, Picture
from idgen.models.encoders import ImageEncoder
from idgen.prepare.captioners.captioner import Captioner, Describe
from idgen.prepare.index import KINDS
from idgen.prepare.inpainters.opencv import OpenCVInpainter
from idgen.prepare.photos import Photo
from idgen.prepare.preparation import Preparation
from idgen.prepare.segmenters.segmenter import Segment, Segmenter
from idgen.prepare.subject import PreparedSubject

# With several threads, sums differ in their last bits between a process's threads, and so would
# files that are compared byte for byte; models this small are no slower with one.
torch.set_num_threads(1)

CPU = torch.device("cpu")
WIDTH = 6
SIDE = 40


class CentreSegmenter(Segmenter):
    """Takes a box in the middle for the subject, and counts what it is asked."""

    def __init__(self, share: float = 0.4) -> None:
        self.share = share
        self.seen: list[str] = []

    @property
    def identity(self) -> str:
        return fingerprint_fields(centre=self.share)

    @contextmanager
    def loaded(self, device: torch.device, photos: Sequence[Photo]) -> Iterator[Segment]:
        def segment(photo: Photo) -> Mask:
            self.seen.append(photo.name)
            height, width = photo.pixels().shape[:2]
            mask = np.zeros((height, width), dtype=np.bool_)
            down, right = (round(side * (1 - self.share) / 2) for side in (height, width))
            mask[down : height - down, right : width - right] = True
            return mask

        yield segment


class CountingInpainter(OpenCVInpainter):
    """OpenCV's, with a count of its pictures."""

    def __init__(self, dilation: float = 0.06) -> None:
        super().__init__(dilation=dilation)
        self.count = 0

    @property
    def is_parallel(self) -> bool:
        """No: what it counts comes in the photos' order."""
        return False

    def _inpaint(self, image: NDArray[np.uint8], mask: Mask) -> NDArray[np.uint8]:
        self.count += 1
        return super()._inpaint(image, mask)


class ColourCaptioner(Captioner):
    """Names the colour of a background's corner, and counts what it is asked."""

    def __init__(self, word: str = "on") -> None:
        self.word = word
        self.seen: list[str] = []

    @property
    def identity(self) -> str:
        return fingerprint_fields(colour=self.word)

    @contextmanager
    def loaded(self, device: torch.device) -> Iterator[Describe]:
        def describe(photo: Photo, background: Picture) -> str:
            self.seen.append(photo.name)
            red, green, blue = (int(level) for level in background[0, 0])
            return f"{self.word}  red {red} green {green} blue {blue}\n"

        yield describe


class PoolingEncoder(ImageEncoder):
    """A linear image encoder: the colours of two halves, weighted."""

    def __init__(self, weight: float = 1.0, width: int = WIDTH) -> None:
        self.model = "pooling"
        self.weight = weight
        self._width = width
        self.count = 0
        self.batches: list[int] = []
        self.dtypes: list[torch.dtype] = []

    @property
    def width(self) -> int:
        return self._width

    @property
    def identity(self) -> str:
        return fingerprint_fields(pooling=self.weight)

    def fetch(self) -> None:
        """Nothing to download."""

    @contextmanager
    def loaded(
        self, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> Iterator[Callable[[Tensor], Tensor]]:
        self.dtypes.append(dtype)

        def encode(pixels: Tensor) -> Tensor:
            self.count += len(pixels)
            self.batches.append(len(pixels))
            return self.weight * adaptive_avg_pool2d(pixels, (1, 2)).flatten(1)

        yield encode


class TinyAutoencoder:
    """A diffusers autoencoder with random weights."""

    def __init__(self, seed: int) -> None:
        self.batches: list[int] = []
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model: Any = AutoencoderKL(
                block_out_channels=(8, 8),
                down_block_types=("DownEncoderBlock2D",) * 2,
                up_block_types=("UpDecoderBlock2D",) * 2,
                norm_num_groups=2,
                latent_channels=4,
            )
            self.model = model.eval()

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        self.batches.append(len(pixels))
        posterior = self.model.encode(pixels).latent_dist
        return posterior.mean, posterior.logvar

    def decode(self, latents: Tensor) -> Tensor:
        pixels: Tensor = self.model.decode(latents).sample
        return pixels


class TinyBackbone:
    """What preparation needs of a backbone, and a count of its loads."""

    def __init__(
        self, seed: int = 0, resolution: int = 16, dtype: torch.dtype = torch.float32
    ) -> None:
        self.source = "tiny"
        self.dtype = dtype
        self.identity = fingerprint_fields(seed=seed)
        self.resolution = resolution
        self.unit = 2
        self.longest_side: int | None = None
        self.loads = 0
        self._autoencoder = TinyAutoencoder(seed)

    @property
    def batches(self) -> list[int]:
        """How many views its autoencoder has encoded at once."""
        return self._autoencoder.batches

    @property
    def encoded(self) -> int:
        """Views that its autoencoder has encoded."""
        return sum(self.batches)

    @contextmanager
    def autoencoder(self, device: torch.device) -> Iterator[Autoencoder]:
        self.loads += 1
        yield self._autoencoder


def preparation(
    share: float = 0.4,
    dilation: float = 0.06,
    weight: float = 1.0,
    views: int = 0,
    skip_bad: bool = False,
    word: str | None = "on",
) -> Preparation:
    """A preparation of the stand-ins; without a captioner if it has no word."""
    return Preparation(
        CentreSegmenter(share),
        CountingInpainter(dilation),
        PoolingEncoder(weight),
        views=views,
        skip_bad=skip_bad,
        captioner=None if word is None else ColourCaptioner(word),
    )


def paint(number: int) -> NDArray[np.uint8]:
    """A picture whose ground has a colour that no other number's has; its subject is white."""
    ground = (
        40 + 30 * (number % 7),
        40 + 30 * (number // 7 % 7),
        40 + 50 * (number // 49),
    )
    picture = np.full((SIDE, SIDE + 8, 3), ground, dtype=np.uint8)
    picture[14:26, 18:30] = 255
    return picture


def save_photo(folder: Path, name: str, number: int) -> Path:
    """Saves a picture without loss."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(paint(number)).save(folder / name, "PNG")
    return folder / name


def save_photos(folder: Path, numbers: Sequence[int] = (0, 1, 2)) -> Path:
    """A folder of photos, named by their numbers."""
    for number in numbers:
        save_photo(folder, f"{number:02d}.png", number)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """All that a prepared subject holds, by relative path."""
    names = ["index.json", "contact_sheet.html"]
    files = [folder / name for name in names if (folder / name).exists()]
    for kind in KINDS:
        files += sorted((folder / kind).iterdir()) if (folder / kind).is_dir() else []
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def save_masks(subject: PreparedSubject, folder: Path) -> Path:
    """A prepared subject's masks as a user's own, named after their photos."""
    folder.mkdir(exist_ok=True)
    for photo in subject.photos:
        content = subject.path(photo, "masks").read_bytes()
        (folder / f"{Path(photo.name).stem}.png").write_bytes(content)
    return folder
