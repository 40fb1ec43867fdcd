import numpy as np
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2  # type: ignore[import-untyped, unused-ignore]

from idgen.metrics.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

from .tiny_models import noise

# Pillow and torchvision round each of the two passes of a resize to 8 bits in its own way.
LEVEL = 1 / 255 / 0.2
TWO_LEVELS = 2.01 * LEVEL


def as_pillow(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).numpy())


@pytest.mark.parametrize(("height", "width"), [(64, 64), (50, 97), (131, 40), (20, 20), (33, 32)])
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [32, (32, 48)])
def test_clip_preprocessing_equals_open_clips(
    height: int, width: int, mode: str, size: int | tuple[int, int]
) -> None:
    config = {
        "size": size,
        "mean": (0.4, 0.5, 0.6),
        "std": (0.2, 0.3, 0.25),
        "resize_mode": mode,
        "interpolation": "bicubic",
        "fill_color": 90,
    }
    images = noise(2, height, width)
    theirs = image_transform_v2(PreprocessCfg(**config), is_train=False)
    expected = torch.stack([theirs(as_pillow(image)) for image in images])
    ours = Preprocessing.of_open_clip(config)(images)
    assert ours.shape == expected.shape
    assert (ours - expected).abs().max() < TWO_LEVELS
    assert (ours - expected).abs().mean() < LEVEL / 3


def test_bilinear_is_read_from_the_config() -> None:
    config = {"size": 32, "mean": 0.5, "std": 0.2, "interpolation": "bilinear"}
    images = noise(1, 90, 70)
    theirs = image_transform_v2(PreprocessCfg(**config), is_train=False)
    ours = Preprocessing.of_open_clip(config)(images)
    assert (ours[0] - theirs(as_pillow(images[0]))).abs().max() < TWO_LEVELS
    bicubic = Preprocessing.of_open_clip(config | {"interpolation": "bicubic"})(images)
    assert (bicubic - ours).abs().max() > 3 * LEVEL


@pytest.mark.parametrize(("height", "width"), [(512, 512), (300, 480)])
def test_dino_preprocessing_is_the_published_one(height: int, width: int) -> None:
    images = noise(1, height, width)
    published = v2.Compose(
        [
            v2.Resize(256, interpolation=v2.InterpolationMode.BICUBIC),
            v2.CenterCrop(224),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    ours = Preprocessing.of_dino(224)(images)[0]
    assert ours.shape == (3, 224, 224)
    assert (ours - published(as_pillow(images[0]))).abs().max() < TWO_LEVELS


def test_dino_preprocessing_scales_with_the_models_size() -> None:
    preprocessing = Preprocessing.of_dino(64)
    assert preprocessing.resize == (73, 73)
    assert preprocessing(noise(2, 64, 64)).shape == (2, 3, 64, 64)


def test_an_image_at_the_right_size_is_only_normalised() -> None:
    images = noise(2, 32, 32)
    preprocessing = Preprocessing((32, 32), (32, 32), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    expected = images.numpy().astype(np.float32) / 127.5 - 1
    np.testing.assert_allclose(preprocessing(images).numpy(), expected, atol=1e-6)


def test_wrong_input_is_refused() -> None:
    preprocessing = Preprocessing.of_dino(64)
    with pytest.raises(ValueError, match="uint8 B 3 H W"):
        preprocessing(noise(1, 64, 64).float())
    with pytest.raises(ValueError, match="uint8 B 3 H W"):
        preprocessing(noise(1, 64, 64)[0])
    with pytest.raises(ValueError, match="mode"):
        Preprocessing.of_open_clip({"size": 8, "mean": 0, "std": 1, "resize_mode": "crop"})
    with pytest.raises(ValueError, match="interpolation"):
        Preprocessing.of_open_clip({"size": 8, "mean": 0, "std": 1, "interpolation": "area"})
