from pathlib import Path

import pytest
import torch

from idgen.models.encoders import ImageEncoder
from idgen.models.side_by_side import SideBySideEncoders
from tests.tiny import save_open_clip

CPU = torch.device("cpu")


def test_embeddings_stand_side_by_side(tiny_encoder: Path, tmp_path: Path) -> None:
    folders = [tiny_encoder, save_open_clip(tmp_path / "other", width=24, seed=5)]
    each = [ImageEncoder(f"local-dir:{folder}") for folder in folders]
    both = SideBySideEncoders(each)
    assert both.width == 56
    pixels = torch.rand(2, 3, 16, 16) * 2 - 1
    with both.loaded(CPU) as encode, each[0].loaded(CPU) as first, each[1].loaded(CPU) as second:
        torch.testing.assert_close(encode(pixels), torch.cat([first(pixels), second(pixels)], 1))
    assert both.identity != SideBySideEncoders(each[::-1]).identity
    assert both.identity == SideBySideEncoders([*each]).identity


def test_none_is_refused() -> None:
    with pytest.raises(ValueError, match="encoders is empty"):
        SideBySideEncoders([])
