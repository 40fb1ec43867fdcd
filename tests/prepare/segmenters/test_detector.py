import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from idgen.errors import UserError
from idgen.prepare import SamSegmenter
from idgen.prepare.segmenters.detector import BoxDetector
from tests.prepare.pictures import CPU, one_line, picture
from tests.tiny import save_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OWL-ViT of seconds' size with random weights."""
    from transformers import (
        CLIPTokenizer,
        OwlViTConfig,
        OwlViTForObjectDetection,
        OwlViTImageProcessor,
        OwlViTProcessor,
    )

    path = tmp_path_factory.mktemp("owl")
    words = save_tokenizer(path / "tokenizer", length=16)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    config = OwlViTConfig(
        text_config={**size, "vocab_size": words, "num_attention_heads": 2},
        vision_config={**size, "image_size": 32, "patch_size": 8, "num_attention_heads": 2},
        projection_dim=16,
    )
    torch.manual_seed(0)
    model = OwlViTForObjectDetection(config)
    with torch.no_grad():
        # Random weights this large would give boxes without any area.
        for weight in model.box_head.parameters():
            weight.mul_(0.01)
    model.save_pretrained(path)
    image_processor = OwlViTImageProcessor(
        size={"height": 32, "width": 32}, crop_size={"height": 32, "width": 32}
    )
    tokenizer = CLIPTokenizer.from_pretrained(path / "tokenizer")
    OwlViTProcessor(image_processor, tokenizer).save_pretrained(path)
    return path


def test_a_box_of_the_picture(folder: Path) -> None:
    pixels = picture(1, 60, 90)
    with BoxDetector(str(folder), threshold=0.0).loaded(CPU) as detect:
        box = detect(pixels, "Dog")
        again = detect(pixels, "dog")
    assert box is not None
    left, top, right, bottom = box
    assert 0 <= left < right <= 90
    assert 0 <= top < bottom <= 60
    np.testing.assert_array_equal(box, again)


def test_nothing_above_the_threshold_is_none(folder: Path) -> None:
    with BoxDetector(str(folder), threshold=1.0).loaded(CPU) as detect:
        assert detect(picture(1), "dog") is None


def test_the_identity_is_the_weights_and_the_threshold(folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    identity = BoxDetector(str(folder)).identity
    assert identity == BoxDetector(str(folder)).identity
    assert identity != BoxDetector(str(folder), threshold=0.5).identity
    assert identity == BoxDetector(str(other)).identity
    network = load_file(other / "model.safetensors")
    save_file({name: weight + 1 for name, weight in network.items()}, other / "model.safetensors")
    assert identity != BoxDetector(str(other)).identity


def test_a_missing_detector_is_found_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*arguments: Any, **options: Any) -> str:
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    for model in ("owner/name", str(tmp_path), str(tmp_path / "absent")):
        segmenter = SamSegmenter(detector=BoxDetector(model), class_noun="dog")
        with pytest.raises(UserError, match=r"BoxDetector\.model") as caught:
            _ = segmenter.identity
        one_line(caught.value)


def test_what_is_no_detector_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    for model in (str(tmp_path), str(tmp_path / "absent")):
        with pytest.raises(UserError) as caught, BoxDetector(model).loaded(CPU):
            pass
        assert "BoxDetector.model" in one_line(caught.value)
    with pytest.raises(UserError, match="threshold"):
        BoxDetector(str(tmp_path), threshold=2)
