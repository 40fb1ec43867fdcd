"""Frozen weights in few bits: what is refused, what is held how, and what is trained beside it."""

import importlib.machinery
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from idgen.backbones import StableDiffusion3Backbone, SubjectWords
from idgen.backbones.quantization import is_quantized, quantization_of
from idgen.doctor.memory import _frozen
from idgen.errors import UserError
from idgen.models.tuning import LayerTuning, LoraTuning
from tests.backbones.few_bits import allow_on_a_cpu
from tests.backbones.tiny_families import save_sd3

WORDS = SubjectWords("sks", "dog")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sd3(tmp_path_factory.mktemp("sd3"))


def opened(folder: Path, dtype: Any) -> StableDiffusion3Backbone:
    return StableDiffusion3Backbone(str(folder), dtype=dtype, t5_tokens=12)


def installed(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    spec = importlib.machinery.ModuleSpec("bitsandbytes", None) if there else None
    monkeypatch.setattr("idgen.backbones.quantization.find_spec", lambda name: spec)


def test_it_is_a_type_to_store_weights_in(folder: Path) -> None:
    assert quantization_of("bfloat16") is None
    plain, few = opened(folder, "float32"), opened(folder, "nf4")
    assert few.dtype == torch.bfloat16, "which all computes in"
    assert few.quantized_parts == ("transformer", "text_encoder_3"), "CLIP is small"
    assert plain.quantized_parts == ()
    assert len({opened(folder, dtype).identity for dtype in ("float32", "int8", "nf4")}) == 3
    assert plain.identity == opened(folder, "bfloat16").identity


@pytest.mark.parametrize("dtype", ["nf4", "int8"])
def test_a_machine_that_cannot_is_told_before_work(
    folder: Path, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = opened(folder, dtype)
    installed(monkeypatch, False)
    with pytest.raises(UserError, match=rf"dtype: '{dtype}' needs bitsandbytes.*'idgen\[quant\]'"):
        backbone.check()
    installed(monkeypatch, True)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match=rf"dtype: '{dtype}' needs a CUDA GPU, and there is none"):
        backbone.check()


def test_memory_is_counted_in_bits(folder: Path) -> None:
    sizes = [_frozen(opened(folder, dtype)) for dtype in ("bfloat16", "int8", "nf4")]
    assert sizes == sorted(sizes, reverse=True)
    bare = opened(folder, "nf4").skeleton()
    linear = sum(
        layer.weight.numel()
        for part in ("transformer", "text_encoder_3")
        for layer in bare.get_submodule(part).modules()
        if isinstance(layer, torch.nn.Linear)
    )
    assert sizes[0] - sizes[1] == linear
    assert sizes[0] - sizes[2] == round(1.5 * linear)


@pytest.mark.parametrize("dtype", ["nf4", "int8"])
def test_lora_is_trained_beside_weights_in_few_bits(
    tmp_path: Path, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow_on_a_cpu(monkeypatch)
    folder = save_sd3(tmp_path / "sd3", wide=True)  # as nf4 needs on a CPU
    exact, backbone = opened(folder, "bfloat16"), opened(folder, dtype)
    for one in (exact, backbone):
        one.load()
    layer = backbone.get_submodule("transformer.transformer_blocks.0.attn.to_q")
    assert is_quantized(layer)
    assert not is_quantized(exact.get_submodule("transformer.transformer_blocks.0.attn.to_q"))
    clip = backbone.get_submodule("text_encoder.text_model.encoder.layers.0.mlp.fc1")
    assert not is_quantized(clip)
    noisy, times = torch.randn(2, *backbone.latent_shape), torch.tensor([200.0, 700.0])
    with torch.no_grad():
        text = exact.encode(["a sks dog", "a dog in the snow"])
        near, far = backbone.predict(noisy, times, text), exact.predict(noisy, times, text)
    assert (near - far).square().mean() < 0.05 * far.square().mean()
    with pytest.raises(UserError, match="quantization holds in few bits"):
        LayerTuning(["attn.to_k"]).attach(backbone, WORDS)
    tuning = LoraTuning(rank=2, text_rank=0)
    backbone.attach(tuning, WORDS)
    backbone.predict(noisy, times, text).square().mean().backward()  # type: ignore[no-untyped-call]
    moved = {n: p.grad for n, p in backbone.named_parameters() if p.requires_grad}
    assert any(g is not None and g.any() for name, g in moved.items() if "lora_B" in name)
    for name, weight in backbone.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    with torch.no_grad():
        beside = backbone.predict(noisy, times, text)
        with backbone.folded():
            torch.testing.assert_close(backbone.predict(noisy, times, text), beside)
    assert not torch.allclose(beside, near)
    assert "bitsandbytes" in sys.modules
