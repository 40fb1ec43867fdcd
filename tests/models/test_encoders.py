"""E_I in the backbone's precision."""

from pathlib import Path

import pytest
import torch
from torch.nn.functional import cosine_similarity

from idgen.models.encoders import ImageEncoder
from idgen.prepare.features import encode_images, working_dtype
from idgen.prepare.photos import UnfitPhotoError
from tests.tiny import save_open_clip

CPU = torch.device("cpu")


@pytest.fixture
def encoder(tmp_path: Path) -> ImageEncoder:
    return ImageEncoder(f"local-dir:{save_open_clip(tmp_path)}")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_nearly_the_same(encoder: ImageEncoder, dtype: torch.dtype) -> None:
    pixels = torch.rand(3, 3, 40, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with encoder.loaded(CPU) as encode:
        whole = encode(pixels)
    with encoder.loaded(CPU, dtype) as encode:
        half = encode(pixels)
    assert whole.dtype == half.dtype == torch.float32
    # Its values have the half precision's few digits: it was computed in it.
    assert torch.equal(half.to(dtype).float(), half)
    assert not torch.equal(whole.to(dtype).float(), whole)
    assert (cosine_similarity(whole, half) > 0.999).all()


def test_a_cpu_computes_in_float32() -> None:
    """Devices are names here: none needs to be there."""
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        assert working_dtype(dtype, CPU) == torch.float32
        assert working_dtype(dtype, torch.device("cuda", 1)) == dtype


def test_values_that_are_not_finite() -> None:
    def overflow(pixels: torch.Tensor) -> torch.Tensor:
        return pixels.flatten(1)[:, :4].half() * 7e4

    with pytest.raises(UnfitPhotoError, match="set the backbone's dtype"):
        encode_images(overflow, torch.ones(2, 3, 4, 4))
